"""Near duplicates: images that are one picture, saved again, scaled, or a little brighter.

A picture is compared as a thumbnail of 16 x 16 pixels in three colours, without the mean of each colour and with unit
length, so that the product of two is their correlation, and two pictures on red paper have no more in common than two
on white. 0.99 finds copies in another format or size. Of 180,000 pairs of different Fashion-MNIST images, which are as
alike as images get, two are above it; of as many pairs of emoji, none. A cropped or turned copy is another picture.
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
ROWS = 1024  # thumbnails that are compared with all others at a time
MOST_PAIRS = 1_000_000  # of copies, as 1,400 blank images have

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
        row = np.zeros(small.size, dtype=np.float32)  # 3 x 256 places, one of each channel
        row[256 * np.arange(3) + colour] = 3**-0.5  # a third of the product for each channel that is equal
        return row
    centred = (small - small.mean(axis=(0, 1))).reshape(-1)
    unit: Thumbnails = centred / np.linalg.norm(centred)
    return unit


def alike(rows: Thumbnails, threshold: float = ALIKE) -> list[Alike]:
    """All pairs of near duplicates among N thumbnails, in order of their places.

    Raises:
        ValueError: if there are more than a million.
    """
    return list(_pairs(rows, threshold))


def _pairs(rows: Thumbnails, threshold: float) -> Iterator[Alike]:
    count = 0
    for start in range(0, len(rows), ROWS):
        products = rows[start : start + ROWS] @ rows[start:].T  # each pair once
        above = np.argwhere(np.triu(products > threshold, k=1))
        count += len(above)
        if count > MOST_PAIRS:
            raise ValueError(
                f"more than {MOST_PAIRS:,} pairs of the {len(rows)} images are copies, of blank pages perhaps, so a "
                "list of them would be of no use; remove copies first"
            )
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
