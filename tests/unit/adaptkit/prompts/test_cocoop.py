"""CoCoOp's image-conditional prompts: where they start, that images do not mix, and what they refuse."""

import pytest
import torch

from adaptkit import create_method
from adaptkit.prompts import cocoop


def test_a_meta_net_that_says_nothing_leaves_zero_shot(tiny_clip, classes, batch):
    method = create_method("cocoop", tiny_clip, classes)
    torch.nn.init.zeros_(method.meta_net.linear2.weight)
    torch.nn.init.zeros_(method.meta_net.linear2.bias)
    zero_shot = create_method("zero_shot", tiny_clip, classes, templates=["a photo of a {}."])
    torch.testing.assert_close(method(batch[0]), zero_shot(batch[0]), rtol=0, atol=1e-4)


def test_a_batch_equals_its_images_one_by_one(tiny_clip, classes):
    method = create_method("cocoop", tiny_clip, classes)
    features = torch.randn(5, tiny_clip.embed_dim)
    alone = torch.cat([method.logits(feature[None]) for feature in features])
    torch.testing.assert_close(method.logits(features), alone, rtol=0, atol=1e-4)


def test_equal_images_get_equal_prompts_and_others_do_not(tiny_clip, classes):
    method = create_method("cocoop", tiny_clip, classes)
    first, second = torch.randn(2, tiny_clip.embed_dim)
    text_features = method.text_features(torch.stack([first, 3 * first, second]))
    torch.testing.assert_close(text_features[0], text_features[1])
    assert not torch.allclose(text_features[0], text_features[2], atol=1e-3)


def test_few_features_at_a_time_change_neither_logits_nor_gradients(tiny_clip, classes, monkeypatch):
    method = create_method("cocoop", tiny_clip, classes)
    features, labels = torch.randn(5, tiny_clip.embed_dim), torch.arange(5)
    logits, _ = method.logits(features), method.backward(features, labels)
    gradient = method.context.ctx.grad.clone()
    monkeypatch.setattr(cocoop, "FEATURES_PER_PASS", 2 * len(classes))
    method.zero_grad()
    torch.testing.assert_close(method.logits(features), logits, rtol=0, atol=1e-4)
    method.backward(features, labels)
    torch.testing.assert_close(method.context.ctx.grad, gradient, rtol=1e-4, atol=1e-5)


def test_no_class_weights_hold_for_every_image(tiny_clip, classes):
    with pytest.raises(TypeError, match="every image"):
        create_method("cocoop", tiny_clip, classes).class_weights()


def test_other_classes_keep_what_is_learnt(tiny_clip, classes, batch):
    method = create_method("cocoop", tiny_clip, classes)
    learnt = method.learnt_state()
    method.set_classes(["cat", "dog"])
    assert method(batch[0]).shape == (6, 2)
    assert all(torch.equal(value, learnt[name]) for name, value in method.learnt_state().items())


@pytest.mark.parametrize("option", ["n_ctx", "reduction"])
def test_options_that_leave_nothing_to_learn_are_refused(option, tiny_clip, classes):
    with pytest.raises(ValueError, match=f"{option}=0"):
        create_method("cocoop", tiny_clip, classes, **{option: 0})
