"""Transforms against tensors made by CLIP's and Dassl's own (fixtures/transforms/manifest.json names them).

The stored tensors come from Pillow 13.0.0 and torchvision 0.29.2; other versions may round a pixel differently.
"""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from datasets_fewshot.images.read import load_image
from datasets_fewshot.images.transforms import CLIP_MEAN, CLIP_STD, eval_transform, train_transform

FIXTURES = Path(__file__).parent / "fixtures" / "transforms"
VARIANT = json.loads((FIXTURES / "manifest.json").read_text())["variants"]["clip_and_dassl"]
STORED = load_file(FIXTURES / VARIANT["file"])
ATOL = {tensor["name"]: tensor["atol"] for tensor in VARIANT["tensors"]}
TRAIN_SEED = VARIANT["hyper_parameters"]["train_seed"]


def names(part: str) -> list[str]:
    return sorted(name for name in STORED if part in name)


def image_file(name: str) -> Path:
    return FIXTURES / f"{name.split('/')[0]}.png"


def size_of(name: str) -> int:
    return int(name.removesuffix("_uint8").rsplit("_", 1)[1])


def assert_close(ours: torch.Tensor, name: str) -> None:
    torch.testing.assert_close(ours, STORED[name], rtol=0, atol=ATOL[name])


@pytest.mark.parametrize("name", [name for name in names("/clip_") if not name.endswith("uint8")])
def test_eval_transform_is_that_of_clip(name):
    with Image.open(image_file(name)) as image:
        assert_close(eval_transform(size_of(name))(image), name)


@pytest.mark.parametrize("name", names("uint8"))
def test_eval_transform_keeps_every_pixel_of_clip(name):
    tensor = eval_transform(size_of(name))(load_image(image_file(name)))
    mean, std = torch.tensor(CLIP_MEAN)[:, None, None], torch.tensor(CLIP_STD)[:, None, None]
    pixels = ((tensor * std + mean) * 255).round().to(torch.uint8).permute(1, 2, 0)
    assert torch.equal(pixels, STORED[name])


@pytest.mark.parametrize("name", names("dassl_test"))
def test_reading_then_eval_transform_is_that_of_dassl(name):
    assert_close(eval_transform(size_of(name))(load_image(image_file(name))), name)


@pytest.mark.parametrize("name", names("dassl_train"))
def test_train_transform_is_that_of_dassl(name):
    transform, image = train_transform(size_of(name)), load_image(image_file(name))
    views = []
    for index in range(len(STORED[name])):
        torch.manual_seed(TRAIN_SEED + index)
        views.append(transform(image))
    assert_close(torch.stack(views), name)
