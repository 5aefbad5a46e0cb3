"""Pair tests: images with true and false texts in named subsets, the form that every test of pairs takes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from datasets_fewshot.images.read import Reading

# texts: an image, true and false texts. two_texts: an image, two texts of one meaning, one false text (SugarCrepe++).
# image_pairs: two images with a text each (Winoground). mmvp: the same, scored as MMVP's code scores it.
Kind = Literal["texts", "two_texts", "image_pairs", "mmvp"]


@dataclass(frozen=True, slots=True)
class PairItem:
    """One item of a pair test."""

    images: tuple[str, ...]  # posix paths below the image root: one, or the two of an image pair
    positives: tuple[str, ...]  # true texts; of an image pair, the text of the first image and that of the second
    negatives: tuple[str, ...] = ()  # false texts; none of an image pair, where each text is false of the other image


@dataclass(frozen=True)
class Subset:
    """Items of one kind under one name."""

    name: str
    kind: Kind
    items: tuple[PairItem, ...]


@dataclass(frozen=True)
class PairTests:
    """A pair test as a whole: its subsets, and the folder or archive that holds the images."""

    name: str
    image_root: Path
    subsets: tuple[Subset, ...]
    notes: tuple[str, ...] = ()  # what was left out or decided while it was read
    reading: Reading = "upright"  # the way in which a file is turned into pixels

    @property
    def images(self) -> tuple[str, ...]:
        """Every image once, in the order in which items name them."""
        return tuple(dict.fromkeys(path for subset in self.subsets for item in subset.items for path in item.images))

    @property
    def texts(self) -> tuple[str, ...]:
        """Every text once, in the order in which items name them."""
        items = (item for subset in self.subsets for item in subset.items)
        return tuple(dict.fromkeys(text for item in items for text in (*item.positives, *item.negatives)))
