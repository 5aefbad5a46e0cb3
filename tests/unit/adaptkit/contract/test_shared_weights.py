"""Class weights that a training step shares among their readers, and those that depend on the image."""

import pytest
import torch
import torch.nn.functional as F

from adaptkit import create_method, list_methods, method_class
from tests.conftest import CLASSES
from tests.helpers.models import consumed

PER_IMAGE = [name for name in list_methods() if "weights_per_image" in method_class(name).provides]


@pytest.mark.parametrize("wrap", [[], ["token_merging"], ["das"]])
@pytest.mark.parametrize("name", ["coop", "kgcoop", "clip_lora"])
def test_readers_of_shared_weights_add_up_their_gradients(name, wrap, tiny_clip, batch):
    torch.manual_seed(0)
    method = create_method(name, tiny_clip, CLASSES, wrap=wrap).eval()
    x, labels = consumed(method, batch[0]), batch[1]
    gradients = []
    for shares in (True, False):
        method.zero_grad()
        if shares:
            with method.share_class_weights() as weights:
                loss = method.loss(x, labels) + weights[0, 0]
        else:
            loss = method.loss(x, labels) + method.class_weights()[0, 0]
        loss.backward()
        gradients.append(
            [parameter.grad.clone() for parameter in method.learnt_parameters().values() if parameter.grad is not None]
        )
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-5)
    with torch.no_grad():
        for parameter in method.learnt_parameters().values():
            parameter.add_(0.1 * torch.randn_like(parameter))
    assert not torch.equal(method.class_weights(), weights)  # nothing is kept behind the block


def test_shared_weights_are_encoded_once(tiny_clip, batch, monkeypatch):
    method, calls = create_method("kgcoop", tiny_clip, CLASSES), []
    encode = type(method).class_weights
    monkeypatch.setattr(type(method), "class_weights", lambda self: (calls.append(1), encode(self))[1])
    with method.share_class_weights():
        method.loss(consumed(method, batch[0]), batch[1])
        with method.share_class_weights():
            method.regularizer(consumed(method, batch[0]), batch[1])
    assert len(calls) == 1


@pytest.mark.parametrize("name", PER_IMAGE)
def test_weights_of_each_image_give_its_logits(name, tiny_clip, batch):
    torch.manual_seed(0)
    method = create_method(name, tiny_clip, CLASSES, wrap=["token_merging"]).eval()
    x = consumed(method, batch[0])
    weights = method.weights_per_image(x)
    assert weights.shape == (len(x), len(CLASSES), tiny_clip.embed_dim)
    torch.testing.assert_close(weights.norm(dim=-1), torch.ones(weights.shape[:2]))
    image = F.normalize(method.image_features_of(x), dim=-1)
    logits = tiny_clip.logit_scale.exp() * (weights @ image[:, :, None])[..., 0]
    torch.testing.assert_close(method.logits(x), logits, rtol=1e-4, atol=1e-4)


def test_methods_say_which_weights_they_have(tiny_clip, batch):
    coop, cocoop = (create_method(name, tiny_clip, CLASSES, n_ctx=2) for name in ("coop", "cocoop"))
    with pytest.raises(TypeError, match="CoOp has no class weights that depend on the image"):
        coop.weights_per_image(consumed(coop, batch[0]))
    with (
        pytest.raises(TypeError, match="CoCoOp has no class weights that hold for every image"),
        cocoop.share_class_weights(),
    ):
        pass
    wrapped = create_method("cocoop", tiny_clip, CLASSES, n_ctx=2, wrap=["posthoc_debias"])
    assert "weights_per_image" not in wrapped.provides  # a wrapper whose logits they would not give
