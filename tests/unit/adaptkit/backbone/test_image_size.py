"""Images of another size: the features are those of open_clip's model made for it, or the size is refused."""

from dataclasses import replace

import open_clip
import pytest
import safetensors.torch
import torch

import adaptkit
from adaptkit import create_method, load_backbone
from adaptkit.backbone.image_size import set_image_size
from benchmarks.shrunk_models import shrunk_model

TIMM = ("EVA02-B-16", "PE-Core-B-16", "ViT-B-16-SigLIP2", "ViTamin-B", "vit_medium_patch16_gap_256")


def test_positions_are_interpolated_as_open_clip_does(tmp_path):
    config = open_clip.get_model_config("ViT-S-32")
    model, _ = shrunk_model("ViT-S-32")
    state = model.state_dict()
    larger = {"image_size": 192, "width": 64, "head_width": 32, "layers": 3}
    text = {"width": 64, "heads": 2, "layers": 3}
    theirs = open_clip.model.CLIP(
        32, config["vision_cfg"] | larger, config["text_cfg"] | text, quick_gelu=config.get("quick_gelu", False)
    ).eval()
    open_clip.model.resize_pos_embed(state, theirs)
    theirs.load_state_dict(state)
    assert set_image_size(model, 192) == (192, 192)
    images = torch.randn(2, 3, 192, 192)
    with torch.no_grad():
        torch.testing.assert_close(model.encode_image(images), theirs.encode_image(images))


@pytest.mark.parametrize("name", TIMM)
def test_towers_of_timm_take_another_size_in_either_path(name):
    model, tokenizer = shrunk_model(name)
    before = model.visual.image_size
    side = before[0] * 3 // 2
    assert set_image_size(model, side) == (side, side)
    backbone = adaptkit.as_backbone(model, tokenizer)
    images = torch.randn(2, 3, side, side)
    assert backbone.preprocess_cfg.image_size == (side, side)
    with torch.no_grad():
        torch.testing.assert_close(backbone.encode_image(images), model.visual(images), rtol=1e-4, atol=1e-4)


def test_a_resnet_takes_another_size():
    model, _ = shrunk_model("RN50")
    set_image_size(model, 96)
    assert model.encode_image(torch.randn(1, 3, 96, 96)).isfinite().all()


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (50, "50 pixels is no multiple of the image tower's patch, 8 pixels; the nearest sides are 48 and 56"),
        (0, "image_size=0; expected a side in pixels"),
        (-48, "image_size=-48; expected"),
        (True, "image_size=True; expected"),
        (48.0, r"image_size=48\.0; expected"),
        ((48, 48, 48), "expected a side in pixels"),
        (10**6, "1 to 4096"),
    ],
)
def test_sizes_that_no_patches_fill_are_refused(size, message):
    with pytest.raises(ValueError, match=message):
        load_backbone("adaptkit-mini", image_size=size)


def test_the_model_s_own_size_changes_nothing():
    plain, same = load_backbone("adaptkit-mini"), load_backbone("adaptkit-mini", image_size=48)
    assert (same.weights_hash, same.source) == (plain.weights_hash, plain.source)


def test_an_adapter_comes_back_on_images_of_its_size(tmp_path):
    backbone = load_backbone("adaptkit-mini", image_size=(64, 56))
    method = create_method("vpt", backbone, ["cat", "dog"]).eval()
    method.save_pretrained(tmp_path / "adapter")
    again = adaptkit.load(tmp_path / "adapter")
    assert again.backbone.preprocess_cfg.image_size == (64, 56)
    images = torch.rand(2, 3, 64, 56)
    assert torch.equal(again(images), method(images))
    with pytest.raises(ValueError, match=r"adaptkit-mini at 64 x 56 pixels.*image_size=\(64, 56\)"):
        adaptkit.load(tmp_path / "adapter", backbone=load_backbone("adaptkit-mini"))


def test_a_size_counts_even_where_weights_are_the_same(tmp_path):
    """Without learnt positions the hash of the weights does not tell the sizes apart."""
    backbone = load_backbone("adaptkit-mini", image_size=64)
    method = create_method("vpt", backbone, ["cat", "dog"])
    method.save_pretrained(tmp_path / "adapter")
    other = load_backbone("adaptkit-mini", image_size=64)
    other.source = replace(other.source, image_size=(72, 72))
    with pytest.raises(ValueError, match="at 72 x 72 pixels"):
        adaptkit.load(tmp_path / "adapter", backbone=other)


def test_weights_of_a_file_are_interpolated_too(tmp_path):
    plain = load_backbone("adaptkit-mini")
    safetensors.torch.save_file(plain.model.state_dict(), tmp_path / "weights.safetensors")
    resized = load_backbone("adaptkit-mini", checkpoint=tmp_path / "weights.safetensors", image_size=64)
    assert resized.weights_hash == load_backbone("adaptkit-mini", image_size=64).weights_hash
