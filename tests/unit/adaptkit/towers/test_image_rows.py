"""The output rows of both towers: what is projected from them is what the encoders give."""

import pytest
import torch
import torch.nn.functional as F

from tests.helpers.models import CAUSAL, WITH_VIT_BLOCKS, build

TEXTS = ["a cat", "a photo of a golden retriever in the snow.", "737-200"]


@pytest.mark.parametrize("family", WITH_VIT_BLOCKS)
def test_the_first_row_projected_is_the_image_feature_to_the_last_bit(family):
    backbone = build(family)
    images, tower = torch.randn(3, 3, *backbone.preprocess_cfg.image_size), backbone.vision_tower
    rows = backbone.encode_tokens(images)
    assert rows.shape == (3, 1 + tower.n_patches, tower.row_width)
    assert torch.equal(backbone.project_tokens(rows[:, 0]), backbone.encode_image(images))


def test_rows_are_those_of_the_plain_tower():
    backbone, images = build("clip_vit"), torch.randn(3, 3, 32, 32)
    visual = backbone.model.visual
    x = visual._embeds(images)
    with torch.no_grad():
        torch.testing.assert_close(backbone.encode_tokens(images), visual.transformer(x), rtol=1e-4, atol=1e-4)


def test_rows_of_prompts_are_left_out_and_change_the_others():
    backbone, images = build("clip_vit"), torch.randn(2, 3, 32, 32)
    prompts = {layer: torch.randn(4, backbone.vision_width) for layer in range(3)}
    rows = backbone.encode_tokens(images, prompts)
    assert rows.shape == (2, 17, backbone.vision_width)
    assert torch.equal(backbone.project_tokens(rows[:, 0]), backbone.encode_image(images, prompts))
    assert not torch.allclose(rows[:, 1:], backbone.encode_tokens(images)[:, 1:])


@pytest.mark.parametrize("family", CAUSAL)
def test_the_row_of_the_end_projected_is_the_text_feature(family):
    backbone = build(family)
    rows, real = backbone.encode_words(TEXTS)
    ends = real.sum(dim=1) - 1
    features = backbone.project_words(rows[torch.arange(3), ends])
    torch.testing.assert_close(features, backbone.encode_text(TEXTS), rtol=1e-4, atol=1e-4)


def test_words_of_a_text_do_not_depend_on_longer_texts_beside_it():
    backbone = build("clip_vit")
    rows, real = backbone.encode_words(TEXTS)
    alone, _ = backbone.encode_words(TEXTS[:1])
    assert real.sum(dim=1).tolist() == [4, 12, 9]
    torch.testing.assert_close(F.normalize(rows[:1, :4], dim=-1), F.normalize(alone, dim=-1))


def test_towers_without_such_rows_are_refused_by_name():
    with pytest.raises(ValueError, match="modified_resnet"):
        build("modified_resnet").encode_tokens(torch.randn(1, 3, 64, 64))


def test_texts_of_a_tower_that_pools_another_row_end_with_their_last_token():
    _, real = build("padding_mask").encode_words(TEXTS)
    assert real.sum(dim=1).tolist() == [4, 12, 9]
