"""Towers with weights of their own: the same features, what learns, and full precision beside half towers."""

import pytest
import torch

from adaptkit.layers.block_view import chosen_layers
from adaptkit.layers.own_weights import with_own_weights, with_whole_own
from tests.helpers.models import WITH_VIT_BLOCKS, build

TEXTS = ["a photo of a cat", "dogs and horses in the snow"]


def learning(backbone, count=None, **options):
    """A view of the backbone with learnt weights, and those of its text and its image tower."""
    chosen = {"ends": True, "embeddings": True, "norms_only": False, **options}
    towers, weights = [], []
    for tower in (backbone.text_tower, backbone.require_vit_blocks("it")):
        layers = chosen_layers((), tower, "blocks")
        made, own = with_own_weights(tower, layers if count is None else layers[len(layers) - count :], **chosen)
        towers.append(made)
        weights.append(own)
    return backbone.with_towers(*towers), *weights


def images_for(backbone):
    return torch.randn(2, 3, *backbone.preprocess_cfg.image_size, generator=torch.Generator().manual_seed(0))


def learnt(own):
    return {name: weight for name, weight in own.named_parameters() if weight.requires_grad}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("family", WITH_VIT_BLOCKS)
def test_every_weight_of_the_image_tower_learns_from_where_the_backbone_s_stands(family, dtype):
    backbone = build(family, dtype)
    view, text, vision = learning(backbone)
    images = images_for(backbone)
    with torch.no_grad():
        torch.testing.assert_close(view.encode_image(images), backbone.encode_image(images))
        torch.testing.assert_close(view.encode_text(TEXTS), backbone.encode_text(TEXTS))
    (view.encode_image(images).sum() + view.encode_text(TEXTS).sum()).backward()
    assert len(learnt(vision)) == len(list(backbone.model.visual.parameters()))
    for own in (text, vision):
        assert all(weight.grad is not None and weight.dtype == torch.float32 for weight in learnt(own).values())
        assert own.start_values().keys() == learnt(own).keys()
        assert all(torch.equal(own.start_values()[name], weight) for name, weight in learnt(own).items())
    assert all(weight.grad is None for weight in backbone.parameters())


@pytest.mark.parametrize("family", ["clip_vit", "timm_tower", "siglip_style"])
def test_steps_too_small_for_half_precision_are_not_lost(family):
    backbone = build(family, torch.bfloat16)
    _, _, vision = learning(backbone)
    weight = max(learnt(vision).values(), key=torch.Tensor.numel)
    before = weight.detach().clone()
    with torch.no_grad():
        for _ in range(10):
            weight.add_(1e-6)
    torch.testing.assert_close(weight.detach() - before, torch.full_like(before, 1e-5), rtol=0.1, atol=1e-7)


def test_a_half_tower_that_is_moved_to_another_type_computes_in_that():
    backbone = build("clip_vit", torch.bfloat16)
    view, *_ = learning(backbone)
    images = images_for(backbone)
    with torch.no_grad():
        expected = view.encode_image(images).float(), view.encode_text(TEXTS).float()
        backbone.to(torch.float32)
        found = view.encode_image(images), view.encode_text(TEXTS)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, rtol=0.1, atol=0.1)


def test_what_is_not_asked_for_is_the_backbone_s_own_module(tiny_clip):
    view, _, vision = learning(tiny_clip, 1, ends=False, embeddings=False)
    assert {name.split(".")[0] + name.split(".")[1] for name in learnt(vision)} == {"blocks2"}
    for layer in (0, 1):
        assert view.vision_tower.blocks[layer] is tiny_clip.vision_tower.blocks[layer]
    assert view.vision_tower.conv1 is tiny_clip.vision_tower.conv1
    assert view.vision_tower.projection is tiny_clip.vision_tower.projection


def test_norms_alone_leave_the_other_modules_of_a_block_shared(tiny_clip):
    view, _, vision = learning(tiny_clip, norms_only=True)
    assert {name.rsplit(".", 2)[-2] for name in learnt(vision)} == {"ln_1", "ln_2", "ln_pre", "ln_post"}
    assert view.vision_tower.blocks[0].attn is tiny_clip.vision_tower.blocks[0].attn


def test_a_weight_that_blocks_share_learns_where_all_of_them_do():
    backbone = build("clip_vit")
    tower = backbone.require_vit_blocks("it")
    tower.blocks[1].ln_1 = tower.blocks[2].ln_1  # as a table of relative positions is
    some = learning(backbone, 2)[2]
    whole = learning(backbone)[2]
    shared = {f"blocks.{layer}.ln_1.weight" for layer in (1, 2)}
    assert not shared & learnt(some).keys()
    assert shared & learnt(whole).keys()
    assert whole.blocks["1"].ln_1 is whole.blocks["2"].ln_1


def test_learnt_parts_stay_in_eval_mode(tiny_clip):
    _, _, vision = learning(tiny_clip)
    assert not any(module.training for module in vision.train().modules())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_tower_without_blocks_learns_as_a_whole(dtype):
    visual = build("modified_resnet", dtype).model.visual
    own = with_whole_own(visual, norms_only=False)
    images = torch.randn(2, 3, 64, 64, dtype=dtype)
    assert torch.equal(own.whole(images), visual(images))
    assert len(learnt(own)) == len(list(visual.parameters()))
    own.whole(images).sum().backward()
    assert all(weight.grad is not None for weight in learnt(own).values())


def test_steps_from_the_end_are_counted(tiny_clip):
    _, text, vision = learning(tiny_clip)
    depths = vision.depths(3)
    assert depths.keys() == learnt(vision).keys()
    assert (depths["behind.ln_post.weight"], depths["blocks.2.ln_1.weight"], depths["blocks.0.ln_1.weight"]) == (
        0,
        1,
        3,
    )
    assert depths["in_front.conv1.weight"] == 4
    assert set(text.depths(3).values()) == {0, 1, 2, 3}
