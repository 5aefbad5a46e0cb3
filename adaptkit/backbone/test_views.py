"""The views in which a test image is shown to methods that adapt to it: one maker for all of them.

View 0 is the image as every other method sees it. The others are random crops of 8 to 100 % of its area, at an aspect
ratio from 3:4 to 4:3, resized with bilinear interpolation and flipped half the time (torchvision's RandomResizedCrop
with its defaults, as in the released codes of TPT, ZERO and MTA), and behind that AugMix where a method wants it.

A view depends on the seed, its number, and the pixels of the image alone: it is the same in a table, in `predict` and
in a stream, in whatever order images come and whatever a file is called. The released codes draw views from one global
generator, so that theirs depend on all images before.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from adaptkit.backbone.augmix import augmix
from adaptkit.backbone.preprocess import PreprocessConfig

LEAST_AREA = 0.08  # of a crop, as a share of the image's
WIDEST = 4 / 3  # aspect ratio of a crop; the narrowest is its inverse
TRIES = 10  # at a crop that fits, before the largest central one is taken


@dataclass(frozen=True)
class TestViews:
    """Which views a test image is shown in.

    Args:
        count: views of an image, V, the first of them without augmentation.
        augmix: whether the random crops go through AugMix.
        seed: of the random crops.
    """

    __test__ = False  # not a test case, whatever pytest makes of the name

    count: int = 64
    augmix: bool = False
    seed: int = 0

    def describe(self) -> str:
        """In words, for records and for the keys of stored features."""
        mixed = " through AugMix" if self.augmix else ""
        return f"test image and {self.count - 1} random crops of {LEAST_AREA:g} or more{mixed}, seed {self.seed}"


class Preparing(Protocol):
    """The part of a backbone that says how pictures become its input."""

    @property
    def preprocess(self) -> Callable[[Image.Image], Tensor]: ...

    @property
    def preprocess_cfg(self) -> PreprocessConfig: ...


def views_of(image: Image.Image, backbone: Preparing, views: TestViews) -> Tensor:
    """An RGB image of any size -> its views as the backbone takes them: (V, 3, H, W)."""
    digest = hashlib.sha256(f"{image.size}".encode() + image.tobytes()).digest()
    content = int.from_bytes(digest[:16], "big")
    shown = [backbone.preprocess(image)]
    for view in range(1, views.count):
        random = np.random.default_rng([views.seed, content, view])
        shown.append(_random_view(image, backbone.preprocess_cfg, views.augmix, random))
    return torch.stack(shown)


def _random_view(image: Image.Image, preprocess: PreprocessConfig, mixed: bool, random: np.random.Generator) -> Tensor:
    height, width = preprocess.image_size
    box = _random_box(image.width, image.height, random)
    crop = image.resize((width, height), Image.Resampling.BILINEAR, box)
    if random.random() < 0.5:
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return augmix(crop, preprocess.to_tensor, random) if mixed else preprocess.to_tensor(crop)


def _random_box(width: int, height: int, random: np.random.Generator) -> tuple[int, int, int, int]:
    """Left, upper, right and lower edge of a crop: area uniform, logarithm of the aspect ratio uniform."""
    for _ in range(TRIES):
        area = width * height * random.uniform(LEAST_AREA, 1.0)
        ratio = math.exp(random.uniform(-math.log(WIDEST), math.log(WIDEST)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, upper = int(random.integers(width - w + 1)), int(random.integers(height - h + 1))
            return left, upper, left + w, upper + h
    w, h = min(width, round(height * WIDEST)), min(height, round(width * WIDEST))
    left, upper = (width - w) // 2, (height - h) // 2
    return left, upper, left + w, upper + h
