"""Learning rates per epoch against those of the papers' training code (fixtures/lr_schedule/manifest.json: source)."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from trainers.config.training import OptimConfig
from trainers.training.optim import learning_rate

FIXTURES = Path(__file__).parent / "fixtures" / "lr_schedule"
MANIFEST = json.loads((FIXTURES / "manifest.json").read_text())
VARIANTS = sorted(MANIFEST["variants"])


def read_variant(name: str) -> tuple[OptimConfig, list[float], float]:
    """The variant's settings, its rates (epochs and the one after the last) and the stored absolute tolerance."""
    variant = MANIFEST["variants"][name]
    optim = variant["hyper_parameters"]["optim"]
    config = OptimConfig(
        name=optim["NAME"],
        lr=optim["LR"],
        epochs=optim["MAX_EPOCH"],
        lr_scheduler=optim["LR_SCHEDULER"],
        warmup_epochs=max(0, optim["WARMUP_EPOCH"]),
        warmup_type=optim["WARMUP_TYPE"],
        warmup_cons_lr=optim["WARMUP_CONS_LR"],
        warmup_min_lr=optim["WARMUP_MIN_LR"],
        warmup_recount=optim["WARMUP_RECOUNT"],
    )
    tensors = load_file(FIXTURES / variant["file"])
    rates = [*tensors["lr_per_epoch"].tolist(), *tensors["lr_after_last"].tolist()]
    return config, rates, min(tensor["atol"] for tensor in variant["tensors"])


def test_every_stored_variant_is_compared():
    assert len(VARIANTS) == len(list(FIXTURES.glob("*.safetensors"))) == 7


@pytest.mark.parametrize("name", VARIANTS)
def test_learning_rate_of_every_epoch_is_the_papers(name: str):
    config, expected, atol = read_variant(name)
    rates = [learning_rate(config, epoch) for epoch in range(config.epochs + 1)]
    assert rates == pytest.approx(expected, rel=0, abs=atol)
