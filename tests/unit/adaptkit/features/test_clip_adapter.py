"""What CLIP-Adapter's recorded numbers cannot show: ratios, the paper's forms, other names."""

import pytest
import torch

from adaptkit import create_method
from tests.helpers.models import build

FEATURES = torch.randn(7, 32, generator=torch.Generator().manual_seed(1))


def test_a_ratio_of_zero_is_zero_shot(tiny_clip, classes):
    method, zero_shot = (
        create_method("clip_adapter", tiny_clip, classes, alpha=0.0),
        create_method("zero_shot", tiny_clip, classes),
    )
    torch.testing.assert_close(method.logits(FEATURES), zero_shot.logits(FEATURES))


def test_the_length_of_a_feature_does_not_matter(tiny_clip, classes):
    method = create_method("clip_adapter", tiny_clip, classes)
    torch.testing.assert_close(method.logits(2 * FEATURES), method.logits(FEATURES), rtol=1e-4, atol=1e-4)


def test_the_released_adapter_is_never_negative_and_the_papers_may_be(tiny_clip, classes):
    released = create_method("clip_adapter", tiny_clip, classes)
    paper = create_method("clip_adapter", tiny_clip, classes, last="linear")
    assert released.image_adapter(FEATURES).min() >= 0
    assert paper.image_adapter(FEATURES).min() < 0


def test_it_learns_two_matrices_without_biases(tiny_clip, classes):
    learnt = create_method("clip_adapter", tiny_clip, classes, reduction=4).learnt_parameters()
    assert [tuple(parameter.shape) for parameter in learnt.values()] == [(8, 32), (32, 8)]


def test_the_text_adapter_moves_the_class_weights(tiny_clip, classes):
    method = create_method("clip_adapter", tiny_clip, classes, text_alpha=0.2)
    assert len(method.learnt_parameters()) == 4
    weights = method.text_features
    adapted = torch.nn.functional.normalize(0.2 * method.text_adapter(weights) + 0.8 * weights, dim=-1)
    torch.testing.assert_close(method.class_weights(), adapted)
    method.backward(FEATURES, torch.arange(7) % 5)
    assert all(parameter.grad is not None for parameter in method.learnt_parameters().values())


def test_other_names_get_their_own_class_weights(tiny_clip, classes):
    method = create_method("clip_adapter", tiny_clip, classes)
    kept = method.learnt_state()
    method.set_classes(["cat", "dog"])
    fresh = create_method("clip_adapter", tiny_clip, ["cat", "dog"])
    fresh.load_learnt_state(kept)
    assert torch.equal(method.logits(FEATURES), fresh.logits(FEATURES))


def test_half_precision_backbones_train_in_fp32(classes):
    method = create_method("clip_adapter", build("clip_vit", torch.bfloat16), classes)
    assert {parameter.dtype for parameter in method.learnt_parameters().values()} == {torch.float32}
    with torch.autocast("cpu", torch.bfloat16):
        assert method.logits(FEATURES.bfloat16()).dtype == torch.float32


def test_a_reduction_that_leaves_nothing_is_refused(tiny_clip, classes):
    with pytest.raises(ValueError, match="reduction=64 leaves no bottleneck in features 32 wide"):
        create_method("clip_adapter", tiny_clip, classes, reduction=64)
