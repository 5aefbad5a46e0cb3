"""The vision tower as functions: equal to open_clip's own forward, with prompts equal to the obvious path."""

import pytest
import torch
from torch import nn

from adaptkit.towers.block import is_supported_block
from tests.helpers.models import FAMILIES, WITH_VIT_BLOCKS, build

IMAGE_SIZE = {"modified_resnet": 64, "timm_tower": 64, "siglip_style": 64}
# open_clip's own, with a class token; tests/contract/test_every_architecture.py has the others.
WITH_A_POOL = ("timm_tower", "siglip_style", "coca_style", "clipa_style")
OPEN_CLIP_S_OWN = tuple(family for family in WITH_VIT_BLOCKS if family not in WITH_A_POOL)
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def images_for(family, dtype):
    size = IMAGE_SIZE.get(family, 32)
    return torch.randn(2, 3, size, size, dtype=dtype)


def assert_close(ours, theirs):
    assert (ours - theirs).norm() < TOLERANCE[ours.dtype] * theirs.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_image_features_equal_the_model_s_own(family, dtype):
    backbone = build(family, dtype)
    images = images_for(family, dtype)
    theirs = backbone.model.visual(images)
    assert_close(backbone.encode_image(images), theirs[0] if isinstance(theirs, tuple) else theirs)
    assert backbone.has_vit_blocks == (family in WITH_VIT_BLOCKS)


def plain_vision(visual, images, prompts):
    """The obvious path: prompts behind the patches, replaced before their block, every row through every block."""
    x = visual.conv1(images).flatten(2).transpose(1, 2)
    x = torch.cat([visual.class_embedding.expand(len(x), 1, -1), x], dim=1) + visual.positional_embedding
    n = len(prompts[0])
    x = visual.ln_pre(torch.cat([x, prompts[0].expand(len(x), -1, -1)], dim=1))
    for layer, block in enumerate(visual.transformer.resblocks):
        if layer > 0 and layer in prompts:
            x = torch.cat([x[:, :-n], prompts[layer].expand(len(x), -1, -1)], dim=1)
        x = block(x)
    return visual.ln_post(x)[:, 0] @ visual.proj


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("layers", [(0,), (0, 1), (0, 1, 2)], ids=str)
@pytest.mark.parametrize("family", OPEN_CLIP_S_OWN)
def test_prompts_equal_the_obvious_path(family, layers, dtype):
    backbone = build(family, dtype)
    images = images_for(family, dtype)
    prompts = {layer: torch.randn(2, 64, dtype=dtype, requires_grad=True) for layer in layers}
    ours = backbone.encode_image(images, prompts)
    theirs = plain_vision(backbone.model.visual, images, prompts)
    assert_close(ours, theirs)
    probe = torch.randn_like(ours)
    for a, b in zip(
        torch.autograd.grad((ours * probe).sum(), list(prompts.values())),
        torch.autograd.grad((theirs * probe).sum(), list(prompts.values())),
        strict=True,
    ):
        assert_close(a, b)


def test_one_prompt_set_per_image_equals_one_pass_per_image():
    backbone = build("clip_vit")
    images = images_for("clip_vit", torch.float32)
    prompts = {0: torch.randn(2, 3, 64), 1: torch.randn(2, 3, 64)}
    together = backbone.encode_image(images, prompts)
    alone = [
        backbone.encode_image(images[i : i + 1], {layer: prompt[i] for layer, prompt in prompts.items()})
        for i in range(2)
    ]
    assert_close(together, torch.cat(alone))


def test_a_layer_with_another_number_of_prompts_is_refused():
    backbone = build("clip_vit")
    with pytest.raises(ValueError, match="every layer needs as many"):
        backbone.encode_image(images_for("clip_vit", torch.float32), {0: torch.randn(2, 64), 1: torch.randn(3, 64)})


def test_prompts_in_a_tower_without_vit_blocks_are_refused_by_name():
    backbone = build("modified_resnet")
    with pytest.raises(ValueError, match=r"modified_resnet has a ModifiedResNet, which .* use a ViT backbone"):
        backbone.encode_image(images_for("modified_resnet", torch.float32), {0: torch.randn(2, 64)})


def test_a_view_through_fewer_blocks_leaves_the_backbone_alone():
    backbone = build("clip_vit")
    images = images_for("clip_vit", torch.float32)
    before = backbone.encode_image(images)
    tower = backbone.vision_tower
    shallow = backbone.with_towers(vision=type(tower)(**{**vars(tower), "blocks": tower.blocks[:2]}))
    assert shallow.vision_depth == 2
    assert backbone.vision_depth == 3
    assert not torch.allclose(shallow.encode_image(images), before)
    assert torch.equal(backbone.encode_image(images), before)


def test_blocks_with_cross_attention_are_not_ours():
    block = nn.Module()
    block.ln_1 = block.ln_2 = block.mlp = block.ln_1_kv = nn.Identity()
    block.attn = nn.MultiheadAttention(8, 2, batch_first=True)
    assert not is_supported_block(block)
