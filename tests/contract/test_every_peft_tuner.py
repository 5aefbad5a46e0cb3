"""Every tuner of the installed PEFT works without touching the backbone, or is refused with a reason."""

import json
import warnings

import pytest
import torch

from adaptkit import create_method
from adaptkit.weights.peft import peft_settings
from tests.helpers.models import build

peft = pytest.importorskip("peft")
tuners = pytest.importorskip("benchmarks.peft_tuners")

CASES = [pytest.param(*case, id=" ".join(case[:2]).strip()) for case in tuners.cases()]
TAKEN_OUT = ["pissa", "pissa_niter_4", "olora"]


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def fresh():
    """Another backbone with the weights of `tiny_clip`."""
    return build("clip_vit")


@pytest.mark.parametrize(("tuner", "option", "settings"), CASES)
def test_it_works_and_leaves_the_backbone_alone_or_says_why_not(tuner, option, settings, tiny_clip, fresh):
    outcome = tuners.examined(tuner, option, settings, tiny_clip, fresh)
    assert not outcome.refused or len(outcome.refused) > 40, "a sentence says why"
    assert bool(outcome.numbers) == (not outcome.refused)


def test_the_table_has_every_tuner_that_the_installed_peft_has():
    content = json.loads((tuners.RESULTS / "peft_tuners.json").read_text())
    if content["peft"] != peft.__version__:
        pytest.skip(f"the table is of PEFT {content['peft']}")
    assert [[row["tuner"], row["option"]] for row in content["outcomes"]] == [list(case[:2]) for case in tuners.cases()]


@pytest.mark.parametrize("start", TAKEN_OUT)
def test_a_start_that_is_taken_out_of_the_weights_folds_into_a_plain_backbone(start, tiny_clip, classes, batch):
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "c_fc", "out_proj"], init_lora_weights=start)
    method = create_method("peft", tiny_clip, classes, settings=peft_settings(config)).eval()
    with torch.no_grad():
        for parameter in method.learnt_parameters().values():
            parameter += 0.01 * torch.randn_like(parameter)
        ours = method(batch[0])
        plain = create_method("zero_shot", method.merge_and_unload(), classes)
        torch.testing.assert_close(plain(batch[0]), ours, rtol=0, atol=1e-3)


def test_two_methods_on_one_backbone_do_not_feel_each_other(tiny_clip, classes, batch):
    start = create_method("zero_shot", tiny_clip, classes)(batch[0])
    for name in TAKEN_OUT:
        config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=name)
        create_method("peft", tiny_clip, classes, settings=peft_settings(config))
    assert torch.equal(create_method("zero_shot", tiny_clip, classes)(batch[0]), start)
