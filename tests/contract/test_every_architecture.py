"""What open_clip's architectures promise, each built small: one of each kind here, all 144 names when slow."""

import json
from functools import cache
from unittest import mock

import pytest
import torch
from torch import nn

from adaptkit import FrozenCLIP, create_method
from adaptkit.towers.timm_blocks import RelativePositions, RotaryPositions
from benchmarks.backbones import CLASSES, TOLERANCE, WORKS, attempt, errors, features, outcome, tried
from benchmarks.shrunk_models import shrunk_model
from benchmarks.timing import RESULTS

# One name of each kind of image tower and text tower; a test below compares their features with those of all names.
IMAGE_TOWERS = (
    "ViT-B-16",
    "ViT-M-16-alt",
    "ViT-bigG-14-CLIPA",
    "coca_base",
    "EVA01-g-14",
    "EVA02-B-16",
    "EVA02-E-14",
    "MobileCLIP2-B",
    "MobileCLIP2-L-14",
    "PE-Core-B-16",
    "PE-Core-bigG-14-448",
    "ViT-B-16-SigLIP2",
    "nllb-clip-base-siglip",
    "vit_medium_patch16_gap_256",
    "vit_relpos_medium_patch16_cls_224",
    "ViTamin-B",
    "ViTamin-XL-256",
)
OTHER_TEXT_TOWERS = (
    "coca_roberta-ViT-B-32",
    "coca_ViT-B-32",
    "mt5-base-ViT-B-32",
    "nllb-clip-base",
    "roberta-ViT-B-32",
    "ViT-B-16-quickgelu",
    "ViT-B-16-SigLIP",
    "ViT-B-32-SigLIP2-256",
    "ViT-bigG-14-worldwide",
    "ViT-H-14-worldwide-quickgelu",
    "ViT-SO400M-16-SigLIP-i18n-256",
)
WITHOUT_BLOCKS = ("RN50", "RN50-quickgelu", "convnext_base", "swin_base_patch4_window7_224", "MobileCLIP2-S0")
EVERY_KIND = IMAGE_TOWERS + OTHER_TEXT_TOWERS + WITHOUT_BLOCKS
# Those that go different ways; ivlp and promptsrc go those of vpt and maple.
IN_IMAGE_TOWER = ("adapter", "clip_lora", "das (wrapper)", "full", "maple", "mma", "mmrl", "peft", "promptkd", "vpt")


@cache
def backbone_of(name: str) -> FrozenCLIP:
    model, tokenizer = shrunk_model(name)
    return FrozenCLIP(model.double(), tokenizer, name)


def images_for(backbone: FrozenCLIP, count: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, *backbone.preprocess_cfg.image_size, dtype=torch.float64, generator=generator)


def told() -> list[dict]:
    """What the committed results say, a record for each name."""
    return json.loads((RESULTS / "backbones.json").read_text())["backbones"]


def known_features() -> dict[str, tuple[str, ...]]:
    return {one["name"]: tuple(one["features"]) for one in told()}


@pytest.mark.parametrize("name", EVERY_KIND)
def test_features_equal_open_clip_s_own(name):
    backbone = backbone_of(name)
    assert max(errors(backbone, images_for(backbone))) < TOLERANCE
    assert backbone.has_vit_blocks == (name not in WITHOUT_BLOCKS)


def obvious_path(backbone: FrozenCLIP, images: torch.Tensor, prompts: dict[int, torch.Tensor]) -> torch.Tensor:
    """Prompts behind the patches, replaced before their block, every row through the library's own blocks."""
    visual, tower = backbone.model.visual, backbone.vision_tower
    n, n_rows = len(prompts[0]), tower.n_prefix + tower.n_patches
    taken = {}

    def first_input(_, args, kwargs):
        taken["x"], taken["kwargs"] = args[0], kwargs
        raise StopIteration

    blocks = visual.transformer.resblocks if hasattr(visual, "transformer") else visual.trunk.blocks
    hook = blocks[0].register_forward_pre_hook(first_input, with_kwargs=True)
    with pytest.raises(StopIteration):
        visual(images)
    hook.remove()
    x, options = taken["x"], {key: value for key, value in taken["kwargs"].items() if value is not None}
    if "rope" in options:  # No rotation for prompts: sine 0, cosine 1.
        sines, cosines = options["rope"].chunk(2, dim=-1)
        padded = nn.functional.pad(sines, (0, 0, 0, n)), nn.functional.pad(cosines, (0, 0, 0, n), value=1)
        options["rope"] = torch.cat(padded, dim=-1)
    if options.get("shared_rel_pos") is not None:  # No number for a way to or from a prompt.
        options["shared_rel_pos"] = nn.functional.pad(options["shared_rel_pos"], (0, n, 0, n))
    x = torch.cat([x, tower.ln_pre(prompts[0]).expand(len(x), -1, -1)], dim=1)
    for layer, block in enumerate(blocks):
        if layer > 0 and layer in prompts:
            x = torch.cat([x[:, :-n], prompts[layer].expand(len(x), -1, -1)], dim=1)
        own = getattr(block.attn, "rel_pos", None)
        if own is None:
            x = block(x, **options)
        else:
            bias = nn.functional.pad(own.get_bias(), (0, n, 0, n))
            with mock.patch.object(own, "get_bias", return_value=bias):
                x = block(x, **options)
    x = x[:, :n_rows]
    if hasattr(visual, "trunk"):
        return visual.head(visual.trunk.forward_head(visual.trunk.norm(x)))
    return visual._pool(x)[0] @ visual.proj


@pytest.mark.parametrize("name", IMAGE_TOWERS)
def test_prompts_equal_the_obvious_path(name):
    backbone = backbone_of(name)
    images, tower = images_for(backbone), backbone.vision_tower
    prompts = {layer: torch.randn(2, tower.width, dtype=torch.float64) for layer in range(tower.depth)}
    with torch.no_grad():
        ours, plain = backbone.encode_image(images, prompts), backbone.encode_image(images)
        torch.testing.assert_close(ours, obvious_path(backbone, images, prompts), rtol=1e-9, atol=1e-9)
    assert (ours - plain).norm() > 1e-3 * plain.norm()


@pytest.mark.parametrize("name", IMAGE_TOWERS)
def test_the_first_row_projected_is_the_image_feature_to_the_last_bit(name):
    backbone = backbone_of(name)
    images, tower = images_for(backbone), backbone.vision_tower
    with torch.no_grad():
        rows = backbone.encode_tokens(images)
        assert rows.shape == (2, 1 + tower.n_patches, tower.row_width)
        assert torch.equal(backbone.project_tokens(rows[:, 0]), backbone.encode_image(images))


@pytest.mark.parametrize("name", IMAGE_TOWERS)
def test_updates_folded_into_the_weights_give_the_library_s_own_tower_the_same_features(name):
    backbone = backbone_of(name)
    images = images_for(backbone)
    method = create_method("clip_lora", backbone, CLASSES, encoder="vision", params=("q", "k", "v", "o")).eval()
    with torch.no_grad():
        for weight in method.learnt_parameters().values():
            weight.normal_(std=0.1)
        merged = method.merge_and_unload().model.visual(images)
        merged = merged[0] if isinstance(merged, tuple) else merged
        ours = method.encode_image(images)
        torch.testing.assert_close(ours, merged, rtol=1e-7, atol=1e-7)
        assert (ours - backbone.encode_image(images)).norm() > 1e-3 * ours.norm()


@pytest.mark.parametrize("name", IMAGE_TOWERS + WITHOUT_BLOCKS)
def test_every_weight_of_an_image_tower_learns_and_is_folded_in(name):
    backbone = backbone_of(name)
    images = images_for(backbone)
    method = create_method("full", backbone, CLASSES, encoder="vision").eval()
    torch.testing.assert_close(method.encode_image(images), backbone.encode_image(images), rtol=1e-9, atol=1e-9)
    method.encode_image(images).square().sum().backward()
    learnt = method.learnt_parameters()
    assert [key for key, weight in learnt.items() if weight.grad is None] == []
    every = sum(weight.numel() for weight in backbone.model.visual.parameters())
    assert sum(weight.numel() for weight in learnt.values()) == every
    with torch.no_grad():
        for weight in learnt.values():
            weight.add_(0.02 * torch.randn_like(weight))
        merged = method.merge_and_unload().model.visual(images)
        merged = merged[0] if isinstance(merged, tuple) else merged
        ours = method.encode_image(images)
        torch.testing.assert_close(ours, merged, rtol=1e-7, atol=1e-7)
        assert (ours - backbone.encode_image(images)).norm() > 1e-3 * ours.norm()


@pytest.mark.parametrize("method", IN_IMAGE_TOWER)
@pytest.mark.parametrize("name", IMAGE_TOWERS)
def test_methods_in_the_image_tower_learn_or_want_another_text_tower(name, method):
    backbone = backbone_of(name)
    reason = attempt(backbone, method, images_for(backbone, 4))
    assert reason in WORKS or (backbone.text_tower is None and "takes token ids only" in reason)


@pytest.mark.parametrize("method", ["clip_lora", "adapter", "peft"])
@pytest.mark.parametrize("name", IMAGE_TOWERS)
def test_layers_that_learn_start_as_zero_shot(name, method):
    backbone = backbone_of(name)
    images = images_for(backbone)
    made = create_method(method, backbone, CLASSES, encoder="vision").eval()
    with torch.no_grad():
        torch.testing.assert_close(made.encode_image(images), backbone.encode_image(images), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", WITHOUT_BLOCKS)
def test_towers_without_blocks_are_refused_with_the_reason(name):
    backbone = backbone_of(name)
    visual = backbone.model.visual
    kind = type(getattr(visual, "trunk", visual)).__name__
    with pytest.raises(ValueError, match=f"{name} has (a|timm's) {kind}, which .* use a ViT backbone"):
        create_method("vpt", backbone, CLASSES)


def test_every_name_has_the_features_of_one_that_is_tested_here():
    known = known_features()
    tested = {known[name] for name in EVERY_KIND}
    assert {name: kind for name, kind in known.items() if kind not in tested} == {}
    assert all(list(one["methods"]) == tried() for one in told())
    for name in EVERY_KIND:
        assert features(backbone_of(name)) == known[name]


def test_rotations_and_relative_positions_are_among_what_is_tested():
    kinds = {
        type(getattr(block.attn, "positions", None))
        for name in IMAGE_TOWERS
        for block in backbone_of(name).vision_tower.blocks
    }
    assert {RotaryPositions, RelativePositions} < kinds


@pytest.mark.slow
@pytest.mark.parametrize("name", known_features())
def test_every_name_gives_what_the_results_say(name):
    found, (known,) = outcome(name), (one for one in told() if one["name"] == name)
    assert max(found.image_error, found.text_error) < TOLERANCE
    assert list(found.features) == known["features"]
    assert {key: value in WORKS for key, value in found.methods.items()} == {
        key: value in WORKS for key, value in known["methods"].items()
    }
    assert list(found.methods) == list(known["methods"])
