"""What CoCoOp's step keeps: 1,000 classes fit, and passes over some of the classes at a time change no gradient."""

import pytest
import torch

from adaptkit import create_method
from benchmarks.models import as_backbone, classnames, random_clip
from benchmarks.timing import kept_mb

NAMES = [f"class {number}" for number in range(300)]


def test_some_classes_at_a_time_change_no_gradient_and_keep_less(tiny_clip):
    method = create_method("cocoop", tiny_clip, NAMES)
    features, labels = torch.randn(2, tiny_clip.embed_dim), torch.tensor([7, 211])
    whole_mb = kept_mb(lambda: method.loss(features, labels))
    method.backward(features, labels)
    expected = {name: value.grad.clone() for name, value in method.learnt_parameters().items()}
    method.zero_grad()
    encoder = method.context.encoder
    encoder.memory_budget = 2**21
    assert len(encoder._chunks(1)) > 1  # one image does not fit at once
    assert kept_mb(lambda: method.loss(features, labels)) < whole_mb / 4
    method.backward(features, labels)
    for name, value in method.learnt_parameters().items():
        torch.testing.assert_close(value.grad, expected[name], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_step_on_1000_classes_at_vit_b_16_size_keeps_less_than_8_gb():
    backbone = as_backbone(random_clip("ViT-B-16"), "ViT-B-16")
    method = create_method("cocoop", backbone, classnames(1000))
    features, labels = torch.randn(1, backbone.embed_dim), torch.tensor([3])
    weights_mb = sum(value.numel() * value.element_size() for value in backbone.parameters()) / 1e6
    kept = kept_mb(lambda: method.loss(features, labels))
    assert kept > 100  # the count sees the activations
    assert weights_mb + kept < 8000
