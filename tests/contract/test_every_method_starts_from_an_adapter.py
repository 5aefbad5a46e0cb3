"""A training that starts from a saved adapter begins with what it has learnt, whatever the method."""

import dataclasses

import pytest
import torch

from adaptkit import Support, create_method, list_methods
from tests.conftest import CLASSES
from tests.helpers.models import consumed
from trainers.compute.seeds import seeded
from trainers.config.load import load_bench
from trainers.config.settings import RunConfig
from trainers.config.training import OptimConfig
from trainers.runs.start import check_start, load_start
from trainers.training.few_shot import train

STEPS = OptimConfig(name="adamw", lr=1e-2, epochs=4, warmup_epochs=0)
ONE_STEP = OptimConfig(name="adamw", lr=1e-30, weight_decay=0, epochs=1, warmup_epochs=0)  # moves nothing


def made(name, backbone, batch, seed):
    with seeded(seed, torch.device("cpu")):
        method = create_method(name, backbone, CLASSES)
    x = consumed(method, batch[0])
    return method, x, batch[1]


@pytest.fixture(params=list_methods())
def adapter(request, tiny_clip, batch, tmp_path):
    """A trained method, and where it is saved; methods that learn nothing are left out."""
    method, x, labels = made(request.param, tiny_clip, batch, seed=1)
    log = train(method, [(x, labels)], STEPS, Support(x, labels))
    if not log.steps:
        pytest.skip(f"{request.param} takes no step")
    return method, method.save_pretrained(tmp_path / "adapter")


def averages_of(tensors, method):
    """What a saved method has learnt without a gradient."""
    return {key: tensor for key, tensor in tensors.items() if key not in method.learnt_parameters()}


def run_of(method, **changes) -> RunConfig:
    run = load_bench(None, ["METHODS", f"[{method.spec.name}]"]).runs[0]
    return dataclasses.replace(run, options=method.spec.config, **changes)


def test_a_training_that_moves_nothing_ends_with_the_adapters_logits(adapter, tiny_clip, batch):
    trained, folder = adapter
    start = load_start(folder, tiny_clip)
    check_start(start, run_of(trained), CLASSES)
    method, x, labels = made(trained.spec.name, tiny_clip, batch, seed=2)
    log = train(method, [(x, labels)], ONE_STEP, Support(x, labels), start=start.tensors)
    assert log.steps == 1
    if method.needs_whole_batches:  # a step moves its running averages whatever the rate: the parameters stand still
        learnt = trained.learnt_parameters()
        for key, parameter in method.learnt_parameters().items():
            torch.testing.assert_close(parameter, learnt[key])
        method.load_learnt_state(method.learnt_state() | averages_of(start.tensors, method))
    with torch.no_grad():
        torch.testing.assert_close(method.eval().logits(x), trained.eval().logits(x), rtol=1e-4, atol=1e-4)


def test_its_classes_are_the_adapters_where_they_have_to_be(adapter, tiny_clip):
    trained, folder = adapter
    start = load_start(folder, tiny_clip)
    turned = CLASSES[::-1]
    if trained.bound_to_classes is None:
        check_start(start, run_of(trained), turned)
        return
    with pytest.raises(ValueError, match=rf"classes in their order, and number 0 is '{turned[0]}' now"):
        check_start(start, run_of(trained), turned)
    with pytest.raises(ValueError, match="there are 2 now"):
        check_start(start, run_of(trained), CLASSES[:2])


def test_another_method_or_wrapper_is_refused(adapter, tiny_clip):
    trained, folder = adapter
    start, run = load_start(folder, tiny_clip), run_of(trained)
    other = "coop" if run.method != "coop" else "maple"
    with pytest.raises(ValueError, match=f"is of {run.method}, and {other} is to be trained"):
        check_start(start, dataclasses.replace(run, method=other), CLASSES)
    wrapped = load_bench(None, ["METHODS", "[coop]", "WRAP", "[fdt]"]).runs[0].wrap
    with pytest.raises(ValueError, match=rf"and {run.method}\+fdt is to be trained"):
        check_start(start, dataclasses.replace(run, wrap=wrapped), CLASSES)
