"""Stand-ins of skipped blocks that start as the nearest linear copy of what they replace."""

import pytest
import torch
import torch.nn.functional as F

from adaptkit import Support, create_method
from adaptkit.wrappers import DASConfig
from adaptkit.wrappers.das.blocks import SkipAdapter
from adaptkit.wrappers.das.linear_fit import _fit

NAMES = ("cat", "dog", "snow leopard")
LABELS = torch.tensor([0, 1, 2, 0])


def das(backbone, init, **options):
    return create_method("zero_shot", backbone, NAMES, wrap=[("das", DASConfig(init=init, **options))]).eval()


@pytest.mark.parametrize("form", ["input", "normed"])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_a_linear_map_of_half_the_bottlenecks_rank_is_found(form, scale):
    generator = torch.Generator().manual_seed(0)
    low_rank = torch.randn(8, 2, generator=generator) @ torch.randn(2, 8, generator=generator)
    shift = torch.randn(8, generator=generator)
    x = torch.randn(4000, 8, generator=generator)
    normed = F.layer_norm(x, (8,))
    y = x + normed @ low_rank + shift + (normed if form == "normed" else 0)
    stand_in = SkipAdapter(8, 5, "fitted", scale, torch.device("cpu"), form)
    with torch.no_grad():
        _fit(stand_in, iter([torch.stack([x[:1500], y[:1500]]), torch.stack([x[1500:], y[1500:]])]))
        error = (stand_in(x) - y).pow(2).mean() / (y - x).pow(2).mean()
    assert error < 1e-3  # what ridge regression takes off


def test_fitted_stand_ins_bring_images_and_texts_nearer_to_the_whole_towers(tiny_clip, batch):
    images = batch[0]
    texts = [f"a photo of a {name}." for name in NAMES]
    whole = tiny_clip.encode_image(images), tiny_clip.encode_text(texts)
    errors = {}
    for init in ("zero", "fitted"):
        method = das(tiny_clip, init, select="given", skip_vision=1, skip_text=1, vision_blocks=(1,), text_blocks=(1,))
        if "prepare" in method.provides:
            method.prepare(Support(images, batch[1]))
        with torch.no_grad():
            seen = method.backbone.encode_image(images), method.backbone.encode_text(texts)
        errors[init] = [float((a - b).norm() / b.norm()) for a, b in zip(seen, whole, strict=True)]
    assert errors["fitted"][0] < 0.8 * errors["zero"][0]
    assert errors["fitted"][1] < 0.8 * errors["zero"][1]


def test_blocks_that_may_be_skipped_are_fitted_one_by_one(tiny_clip, batch):
    method = das(tiny_clip, "fitted", skip_vision=1, skip_text=0)
    assert method.search() is not None
    method.prepare(Support(batch[0], batch[1]))
    stand_ins = method.vision_adapters.stand_ins()
    assert sorted(stand_ins) == [0, 1, 2]
    assert all(stand_in.up.weight.any() for stand_in in stand_ins.values())


def test_only_fitted_stand_ins_ask_for_the_training_images(tiny_clip):
    assert "prepare" in das(tiny_clip, "fitted", skip_vision=1, skip_text=0).provides
    assert "prepare" not in das(tiny_clip, "fitted", skip_vision=0, skip_text=0).provides
    assert "prepare" not in das(tiny_clip, "zero", skip_vision=1, skip_text=0).provides


def test_stand_ins_need_no_more_than_some_of_the_images_unless_the_inner_method_keeps_all(tiny_clip):
    assert das(tiny_clip, "fitted", skip_vision=1, skip_text=0).support_items == 2048
    options = DASConfig(skip_vision=1, skip_text=0, encoder="vision", init="fitted")
    assert create_method("tip_adapter", tiny_clip, ["a", "b"], wrap=[("das", options)]).support_items is None
