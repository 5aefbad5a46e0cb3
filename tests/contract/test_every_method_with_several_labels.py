"""Every method learns several labels per image, saves and loads them alike, or says in one sentence why it cannot."""

import pytest
import torch

import adaptkit
from adaptkit import Support, create_method, list_methods
from tests.conftest import CLASSES
from tests.contract.test_every_method import train
from tests.helpers.models import consumed

TAKE_PART = ("zero_shot", "coop", "linear_probe", "taskres", "clip_adapter", "clip_lora")


@pytest.fixture(scope="module")
def examples():
    """Images (10, 3, 32, 32) that show their labels, and the labels (10, C): none, one or several of each image."""
    generator = torch.Generator().manual_seed(0)
    targets = (torch.rand(10, len(CLASSES), generator=generator) < 0.4).float()
    patterns = torch.randn(len(CLASSES), 3 * 32 * 32, generator=generator)
    images = (targets @ patterns).view(-1, 3, 32, 32)
    return images + 0.1 * torch.randn(images.shape, generator=generator), targets


@pytest.mark.parametrize("name", list_methods())
def test_it_learns_several_labels_or_says_why_not(name, tiny_clip, examples, tmp_path):
    images, targets = examples
    torch.manual_seed(0)
    try:
        method = create_method(name, tiny_clip, CLASSES, wrap=["multi_label"])
    except ValueError as refusal:
        assert name not in TAKE_PART
        assert len(str(refusal)) > 60
        assert ". " not in str(refusal), "one sentence"
        return
    x = consumed(method, images)
    method.prepare(Support(x, targets))
    prepared = method.learnt_parameters() and "prepare" in method.inner.provides  # a fit is at its optimum already
    if method.learnt_parameters():
        losses = train(method.train(), x, targets, steps=20)
        assert losses[-1] <= 1.001 * losses[0] if prepared else losses[-1] < losses[0]
    method.eval().set_thresholds(torch.linspace(-1, 1, len(CLASSES)))
    method.save_pretrained(tmp_path / name)
    again = adaptkit.load(tmp_path / name, tiny_clip)
    with torch.no_grad():
        torch.testing.assert_close(again.logits(x), method.logits(x))
    assert torch.equal(again.label_thresholds, method.label_thresholds)
    assert [found.present for found in again.predict(images)] == [found.present for found in method.predict(images)]
