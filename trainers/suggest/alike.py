"""Near duplicates: images that are one picture, saved again, scaled, or a little brighter.

A picture is compared as a thumbnail of 16 x 16 pixels in three colours, without its mean and with unit length, so that
the product of two is their correlation. 0.99 finds copies in another format or size. Of 180,000 pairs of different
Fashion-MNIST images, which are as alike as images get, two are above it; of as many pairs of emoji, none. A cropped or
turned copy is another picture to it.
"""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datasets_fewshot import FewShotDataset, Item
from trainers.evaluation.scoring import Ints

SIDE = 16  # pixels of a thumbnail
ALIKE = 0.99  # correlation
FLAT = 2.0  # standard deviation, in steps of 256, below which every channel of an image is one colour
MIXED = np.array([73, 151, 283])  # primes
ROWS = 1024  # thumbnails that are compared with all others at a time

Thumbnails = NDArray[np.float32]


@dataclass(frozen=True)
class Alike:
    """Two images that are one picture: their places, the lower first, and their correlation."""

    first: int
    second: int
    similarity: float


@dataclass(frozen=True)
class Pictures:
    """What is compared of N images."""

    rows: Thumbnails  # (N, 768), unit length
    pixels: tuple[bytes, ...]  # a hash of the size and the pixels of each


def look_at(dataset: FewShotDataset, items: Sequence[Item]) -> Pictures:
    """Decode images once for all comparisons.

    Raises:
        BadImageError: if one cannot be read.
    """
    with ThreadPoolExecutor() as pool:  # PIL lets other threads run while it decodes
        seen = list(pool.map(lambda item: _seen(dataset.load(item)), items))
    rows = np.stack([row for row, _ in seen]) if seen else np.zeros((0, 3 * SIDE * SIDE), dtype=np.float32)
    return Pictures(rows, tuple(pixels for _, pixels in seen))


def _seen(image: Image.Image) -> tuple[Thumbnails, bytes]:
    return thumbnail(image), hashlib.blake2b(f"{image.size} ".encode() + image.tobytes(), digest_size=16).digest()


def thumbnail(image: Image.Image) -> Thumbnails:
    """The row of one image; an image of one colour is told by its colour, as it has nothing else."""
    small = np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS), dtype=np.float32)
    if small.std(axis=(0, 1)).max() < FLAT:
        colour = small.mean(axis=(0, 1)).round().astype(int)
        row = np.zeros(small.size, dtype=np.float32)
        row[int(colour @ MIXED) % small.size] = 1.0  # equal for equal colours, and mostly at right angles for others
        return row
    centred = small.reshape(-1) - small.mean()
    unit: Thumbnails = centred / np.linalg.norm(centred)
    return unit


def alike(rows: Thumbnails, threshold: float = ALIKE) -> list[Alike]:
    """All pairs of near duplicates among N thumbnails, in order of their places."""
    return list(_pairs(rows, threshold))


def _pairs(rows: Thumbnails, threshold: float) -> Iterator[Alike]:
    for start in range(0, len(rows), ROWS):
        products = rows[start : start + ROWS] @ rows[start:].T  # each pair once
        above = np.argwhere(np.triu(products > threshold, k=1))
        for first, second in above.tolist():
            yield Alike(start + first, start + second, min(1.0, float(products[first, second])))


def groups_of(count: int, pairs: Sequence[Alike]) -> Ints:
    """A number for each of N images, the same for all that a chain of near duplicates connects."""
    group = list(range(count))

    def root(place: int) -> int:
        while group[place] != place:
            group[place] = group[group[place]]
            place = group[place]
        return place

    for pair in pairs:
        low, high = sorted((root(pair.first), root(pair.second)))
        group[high] = low
    return np.array([root(place) for place in range(count)], dtype=np.int64)
