"""What AdaptedCLIP gives every method: learnt state, classes encoded once, refusals."""

import pytest
import torch
from torch import nn

from adaptkit import AdaptedCLIP, ClassSet, create_method


class Bias(AdaptedCLIP):
    """Learns one number per class."""

    consumes = "features"

    def __init__(self, backbone, classes):
        super().__init__(backbone, classes)
        self.bias = nn.Parameter(torch.zeros(len(classes)))

    def logits(self, x):
        return x[:, : len(self.bias)] + self.bias

    def loss(self, x, labels):
        return nn.functional.cross_entropy(self.logits(x), labels)


@pytest.fixture
def method(tiny_clip):
    return Bias(tiny_clip, ClassSet(("cat", "dog")))


def test_learnt_state_is_a_copy_of_what_needs_gradients(method):
    state = method.learnt_state()
    assert list(state) == ["bias"]
    state["bias"].add_(1)
    assert method.bias.sum() == 0


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "expected"),
        ({"bias": torch.zeros(3)}, r"shape \(3,\); expected \(2,\)"),
        ({"bias": torch.zeros(2), "extra": torch.zeros(1)}, "do not belong here"),
    ],
)
def test_foreign_learnt_state_is_refused_and_changes_nothing(method, state, message):
    before = method.bias.clone()
    with pytest.raises(ValueError, match=message):
        method.load_learnt_state(state)
    assert torch.equal(method.bias, before)


def test_a_method_that_says_nothing_is_bound_to_its_classes(method):
    with pytest.raises(TypeError, match="bound to the 2 classes"):
        method.set_classes(["fish"])
    with pytest.raises(TypeError, match="no class weights"):
        method.class_weights()


def test_classes_are_encoded_once_inside_the_block_only(tiny_clip, monkeypatch):
    method = create_method("coop", tiny_clip, ["cat", "dog"], n_ctx=2)
    passes = []
    forward = method.context.encoder.forward
    monkeypatch.setattr(method.context.encoder, "forward", lambda *args: passes.append(1) or forward(*args))
    x = torch.randn(3, tiny_clip.embed_dim)
    with method.encode_classes_once():
        first, second = method.logits(x), method.logits(x)
    assert torch.equal(first, second)
    assert len(passes) == 1
    method.logits(x)
    assert len(passes) == 2


def test_backward_leaves_the_gradient_and_returns_a_detached_loss(method):
    x, labels = torch.randn(3, 32), torch.tensor([0, 1, 1])
    loss = method.backward(x, labels)
    assert not loss.requires_grad
    (expected,) = torch.autograd.grad(method.loss(x, labels), method.bias)
    torch.testing.assert_close(method.bias.grad, expected)


def test_training_mode_never_reaches_the_backbone(method):
    method.train()
    assert method.training
    assert not method.backbone.training
