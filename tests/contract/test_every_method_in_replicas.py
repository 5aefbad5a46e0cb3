"""A method whose replicas train side by side ends where each of them alone ends; others say why they train alone."""

from dataclasses import replace

import pytest
import torch

from adaptkit import Support, create_method, list_methods
from tests.conftest import CLASSES
from tests.helpers.models import build, consumed
from trainers.compute.seeds import RandomNumbers, seeded
from trainers.config.training import OptimConfig, ViewConfig
from trainers.evaluation.logits import evaluate
from trainers.feeding.batches import FeatureBatches
from trainers.training.few_shot import train
from trainers.training.replicas import train_replicas, why_single

TOLERANCE = 1e-5  # of the norm of a learnt tensor
REPLICAS = ((1, 0.02, 5e-4), (2, 0.02, 5e-4), (1, 0.05, 0.0), (3, 0.002, 0.1))  # seed, rate, decay
# A family changes nothing of an optimizer: every one on the first, and one on the family whose logits have a bias.
CASES = [
    *(("clip_vit", optimizer) for optimizer in ("sgd", "adam", "adamw")),
    ("siglip_style", "adamw"),
    *(pytest.param("siglip_style", optimizer, marks=pytest.mark.slow) for optimizer in ("sgd", "adam")),
]


def parts(name, backbone, images, optim):
    """Methods, batches, settings, support sets and random numbers of the replicas, each made under its own seed."""
    methods, batches, optims, supports, numbers = [], [], [], [], []
    for seed, lr, decay in REPLICAS:
        with seeded(seed, backbone.device):
            method = create_method(name, backbone, CLASSES)
            noise = 0.5 * torch.randn(images[0].shape)
        x, labels = consumed(method, images[0] + noise), images[1]
        methods.append(method)
        batches.append(FeatureBatches(x[:, None], labels, ViewConfig("none"), 3, False, seed))
        optims.append(replace(optim, lr=lr, weight_decay=decay))
        supports.append(Support(x, labels))
        numbers.append(RandomNumbers(seed, backbone.device))
    return methods, batches, optims, supports if "prepare" in methods[0].provides else [], numbers


@pytest.fixture(scope="module")
def images():
    labels = torch.tensor([0, 1, 2, 3, 4, 0, 1, 2])
    return torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)), labels


@pytest.mark.parametrize(("family", "optimizer"), CASES)
@pytest.mark.parametrize("name", list_methods())
def test_replicas_learn_what_each_of_them_learns_alone(name, family, optimizer, images):
    backbone = build(family)
    if family == "siglip_style":
        images = torch.nn.functional.interpolate(images[0], size=64), images[1]
    optim = OptimConfig(name=optimizer, epochs=2, clip_norm=1.0, warmup_epochs=1)
    try:
        method = create_method(name, backbone, CLASSES)
    except ValueError as refusal:
        pytest.skip(f"refused: {refusal}")
    reason = why_single(method)
    if reason is not None:
        assert reason.startswith(name)
        pytest.skip(reason)
    together, alone = (parts(name, backbone, images, optim) for _ in range(2))
    logs = train_replicas(*together[:4], numbers=together[4])
    for row, (method, batches, settings) in enumerate(zip(*alone[:3], strict=True)):
        with alone[4][row].in_use():
            log = train(method, batches, settings, alone[3][row] if alone[3] else None)
        assert logs[row].steps == log.steps == 6
        assert logs[row].losses == pytest.approx(log.losses, rel=1e-5)
        found = together[0][row].learnt_parameters()
        for key, expected in method.learnt_parameters().items():
            assert (found[key] - expected).norm() <= TOLERANCE * expected.norm(), (row, key)
        x, labels = together[3][row].x if together[3] else batches.features[:, 0], images[1]
        assert evaluate(together[0][row], x, labels).accuracy == evaluate(method, x, labels).accuracy


@pytest.mark.parametrize("name", list_methods())
def test_a_method_in_a_wrapper_trains_alone(name, images):
    try:
        wrapped = create_method(name, build("clip_vit"), CLASSES, wrap=["token_merging"])
    except ValueError as refusal:
        pytest.skip(f"refused: {refusal}")
    assert why_single(wrapped) is not None
    with pytest.raises(ValueError, match=f"{name}.*one by one"):
        train_replicas([wrapped], [[]], [OptimConfig()])
