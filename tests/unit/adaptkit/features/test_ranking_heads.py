"""Ranking heads start as zero-shot CLIP, and learn on features alone."""

import torch
import torch.nn.functional as F

import adaptkit


def test_the_start_is_zero_shot(tiny_clip):
    heads = adaptkit.create_method("ranking_heads", tiny_clip, ["cat", "dog"])
    zero_shot = adaptkit.create_method("zero_shot", tiny_clip, ["cat", "dog"])
    images = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(heads.eval()(images), zero_shot(images))
    texts = ["a cat", "rain"]
    torch.testing.assert_close(heads.encode_text(texts), F.normalize(tiny_clip.encode_text(texts), dim=-1))


def test_without_the_residual_the_start_is_another_space(tiny_clip):
    heads = adaptkit.create_method("ranking_heads", tiny_clip, None, residual=False).eval()
    images = torch.randn(3, 3, 32, 32)
    away = heads.encode_image(images) - F.normalize(tiny_clip.encode_image(images), dim=-1)
    assert away.norm(dim=1).min() > 0.1


def test_features_of_the_frozen_towers_give_the_same(tiny_clip):
    heads = adaptkit.create_method("ranking_heads", tiny_clip, None, hidden=4).eval()
    for parameter in heads.learnt_parameters().values():
        torch.nn.init.normal_(parameter)
    images, texts = torch.randn(3, 3, 32, 32), ["a cat", "rain"]
    torch.testing.assert_close(heads.image_features_of(heads.consume(images)), heads.encode_image(images))
    torch.testing.assert_close(heads.text_features_of(tiny_clip.encode_text(texts)), heads.encode_text(texts))
    assert heads.image_head.down.weight.shape == (4, tiny_clip.embed_dim)


def test_nearly_all_that_is_learnt_is_two_networks(tiny_clip):
    heads = adaptkit.create_method("ranking_heads", tiny_clip, None)
    count = sum(tensor.numel() for tensor in heads.learnt_parameters().values())
    width = tiny_clip.embed_dim
    half = width // 2
    assert count == 2 * (2 * width * half + width + half)
