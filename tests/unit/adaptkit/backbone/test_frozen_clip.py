"""FrozenCLIP: frozen, in eval mode, and truthful about what it is."""

import copy

import open_clip
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from tests.helpers.models import FAMILIES, build


@pytest.mark.parametrize("family", FAMILIES)
def test_it_stays_frozen_and_in_eval_mode(family):
    backbone = build(family)
    backbone.train()
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


def test_batch_norm_never_moves():
    backbone = build("modified_resnet")
    before = backbone.weights_hash
    torch.nn.Sequential(backbone).train()
    backbone.encode_image(torch.randn(2, 3, 64, 64))
    assert backbone.weights_hash == before


@pytest.mark.parametrize("family", FAMILIES)
def test_it_answers_its_questions(family):
    backbone = build(family)
    assert (backbone.embed_dim, backbone.text_width, backbone.text_depth) == (32, 64, 3)
    assert backbone.context_length == 40
    assert backbone.dtype == torch.float32
    assert (backbone.logit_bias is not None) == (family == "siglip_style")
    if backbone.has_vit_blocks:
        depth = 6 if family in ("timm_tower", "siglip_style") else 3
        assert (backbone.vision_width, backbone.vision_depth) == (64, depth)
    else:
        with pytest.raises(ValueError, match="use a ViT backbone"):
            _ = backbone.vision_width


@pytest.mark.parametrize("family", FAMILIES)
def test_text_features_equal_the_model_s_own(family):
    backbone = build(family)
    texts = ["a photo of a cat.", "737-200", "a photo of a golden retriever in the snow."]
    tokens = backbone.tokenize(texts)
    model = backbone.model
    theirs = model.text(tokens) if hasattr(model, "text") else model.encode_text(tokens)
    theirs = theirs[0] if isinstance(theirs, tuple) else theirs
    torch.testing.assert_close(backbone.encode_text(texts), theirs, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(backbone.encode_text(tokens), theirs, rtol=1e-4, atol=1e-5)


def test_logits_are_scaled_cosines_with_the_bias():
    backbone = build("siglip_style", torch.float64)  # a scale of 100 makes much of float32's rounding
    images, texts = torch.randn(4, 32, dtype=torch.float64), torch.randn(5, 32, dtype=torch.float64)
    cosines = F.cosine_similarity(images[:, None], texts[None], dim=-1)
    expected = backbone.logit_scale.exp() * cosines + backbone.logit_bias
    torch.testing.assert_close(backbone.logits(images, texts), expected)
    torch.testing.assert_close(backbone.logits(images, texts.expand(4, -1, -1)), expected)


def test_preprocess_is_the_model_s_own():
    backbone = build("clip_vit")
    image = Image.effect_noise((50, 40), 90).convert("RGB")
    theirs = open_clip.image_transform(32, is_train=False)(image)
    assert torch.equal(backbone.preprocess(image), theirs)
    assert backbone.preprocess_cfg.interpolation == "bicubic"


def test_the_hash_sees_every_weight():
    backbone = build("clip_vit")
    other = copy.deepcopy(backbone)
    with torch.no_grad():
        other.model.ln_final.bias[0] += 1e-6
    assert other.weights_hash != backbone.weights_hash


def test_a_text_that_is_too_long_is_never_cut():
    with pytest.raises(ValueError, match="40 positions"):
        build("clip_vit").encode_text(["a " * 60])
