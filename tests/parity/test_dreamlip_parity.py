"""DreamLIP's losses and sub-captions against its released code (zyf0619sjtu/DreamLIP d2aeea8)."""

import json

import pytest
import torch.nn.functional as F

from adaptkit.objectives.dreamlip import grouping_loss, merged, pieces_of, sub_caption_losses
from tests.helpers.golden import FIXTURES, Golden, manifest

pytestmark = pytest.mark.usefixtures("dtype")

VARIANTS = manifest("dreamlip")["variants"]
LOSSES = [name for name, entry in VARIANTS.items() if entry["file"].endswith(".safetensors")]
DRAWS = [name for name, entry in VARIANTS.items() if entry["file"].endswith(".json")]


def leaf(tensor):
    return tensor.clone().requires_grad_()


def grouping(golden, given, code_order):
    settings = golden.settings
    return settings["sgl_lossweight"] * grouping_loss(
        F.normalize(given["text_features_raw"], dim=-1),
        F.normalize(given["patch_features"], dim=-1),
        given["log_scale_local"].exp(),
        delta=settings["sgl_delta"],
        spread=settings["sgl_norm"],
        code_order=code_order,
    )


@pytest.mark.parametrize("variant", LOSSES)
@pytest.mark.parametrize("order", ["code_order", "intended"])
def test_grouping_equals_the_released_code(variant, order):
    golden = Golden("dreamlip", variant)
    names = ("text_features_raw", "patch_features", "log_scale_local")
    given = {name: leaf(golden[name]) for name in names}
    loss = grouping(golden, given, order == "code_order")
    golden.check(f"{order}/grouping_loss", loss)
    loss.backward()
    for name in names:
        golden.check(f"{order}/grad_grouping/{name}", given[name].grad)


@pytest.mark.parametrize("variant", LOSSES)
def test_all_losses_equal_the_released_code(variant):
    golden = Golden("dreamlip", variant)
    names = ("image_features_raw", "text_features_raw", "patch_features", "log_scale", "log_scale_local")
    given = {name: leaf(golden[name]) for name in names}
    images, texts = (F.normalize(given[f"{side}_features_raw"], dim=-1) for side in ("image", "text"))
    weight = golden.settings["clip_lossweight"]
    clip, sub = (weight * loss for loss in sub_caption_losses(images, texts, given["log_scale"].exp()))
    golden.check("code_order/CLIP_loss", clip)
    golden.check("code_order/sub_loss", sub)
    total = clip + sub + grouping(golden, given, code_order=True)
    golden.check("code_order/total", total)
    total.backward()
    for name in names:
        golden.check(f"code_order/grad/{name}", given[name].grad)


@pytest.mark.parametrize("variant", DRAWS)
def test_pieces_and_texts_equal_the_released_code(variant):
    entry = VARIANTS[variant]
    count = entry["hyper_parameters"]["merged_num"]
    for item in json.loads((FIXTURES / "dreamlip" / entry["file"]).read_text())["items"]:
        pieces = pieces_of(item["captions"])
        assert pieces == item["pieces"]
        if "drawn" in item:
            assert [merged(pieces, place, count) for place in item["drawn"]] == item["texts"]
