"""Label smoothing reaches the cross-entropy of every method that learns by steps, and nothing else of its loss."""

import pytest
import torch
import torch.nn.functional as F

from adaptkit import Support, create_method, list_methods, method_class
from tests.conftest import CLASSES
from tests.helpers.models import consumed
from trainers.compute.seeds import seeded
from trainers.config.training import OptimConfig
from trainers.training.few_shot import train
from trainers.training.label_smoothing import smooth, why_not_smoothed

SHARE = 0.3
ONE_STEP = {"name": "adamw", "lr": 1e-3, "epochs": 1, "warmup_epochs": 0}


def made(name, backbone, batch, wrap=()):
    try:
        method = create_method(name, backbone, CLASSES, wrap=wrap)
    except ValueError as refusal:
        pytest.skip(f"refused: {refusal}")
    return method, consumed(method, batch[0]), batch[1]


def one_step(name, backbone, batch, share, wrap=()):
    """The first loss and the learnt tensors after one step."""
    with seeded(3, torch.device("cpu")):
        method, x, labels = made(name, backbone, batch, wrap)
        support = Support(x, labels)
        log = train(method, [(x, labels)], OptimConfig(**ONE_STEP, label_smoothing=share), support)
        return log.losses, method.learnt_state()


@pytest.mark.parametrize("wrap", [(), ("fdt",), ("das",)], ids=["alone", "fdt", "das"])
@pytest.mark.parametrize("name", list_methods())
def test_a_smoothed_loss_is_the_smoothed_cross_entropy_and_the_same_regularizer(name, wrap, tiny_clip, batch):
    torch.manual_seed(0)
    method, x, labels = made(name, tiny_clip, batch, wrap)
    if not method.learns_from_labels:
        pytest.skip("it reads no labels: see the test of the probe")
    method.prepare(Support(x, labels))
    method.eval()
    with torch.no_grad():
        smoothed = smooth(labels, len(CLASSES), SHARE)
        added = method.regularizer(x, smoothed)  # fdt's has a second cross-entropy of the labels
        logits = method.inner.logits(x) if method.sees else method.logits(x)  # nothing at test time is trained
        cross_entropy = F.cross_entropy(logits, labels, label_smoothing=SHARE)
        expected = cross_entropy if added is None else cross_entropy + added
        found = method.loss(x, smoothed)
        if added is not None and "fdt" not in (name, *wrap):
            torch.testing.assert_close(added, method.regularizer(x, labels))
    torch.testing.assert_close(found, expected.to(found.dtype), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", list_methods())
def test_smoothing_changes_what_is_learnt_where_steps_are_taken(name, tiny_clip, batch):
    plain_losses, plain = one_step(name, tiny_clip, batch, 0.0)
    losses, learnt = one_step(name, tiny_clip, batch, SHARE)
    if not plain_losses or not method_class(name).learns_from_labels:
        assert losses == plain_losses  # the plan refuses it: see the tests of `trainers.bench.plan`
        return
    assert losses != plain_losses
    assert any(not torch.equal(learnt[key], value) for key, value in plain.items())


@pytest.mark.parametrize("name", list_methods())
def test_the_probe_finds_whether_it_can_be_smoothed(name, tiny_clip, batch):
    method, _, _ = made(name, tiny_clip, batch)
    if not method.learns_from_labels:
        assert "learns without labels" in why_not_smoothed(method)
        return
    assert why_not_smoothed(method) is None


def test_a_loss_that_takes_class_numbers_only_is_refused_with_the_reason(tiny_clip, monkeypatch):
    method = create_method("coop", tiny_clip, CLASSES)

    def picked(x, labels):
        return -method.logits(x).log_softmax(dim=-1)[torch.arange(len(labels)), labels].mean()

    monkeypatch.setattr(method, "loss", picked)
    assert "class numbers only" in why_not_smoothed(method)
