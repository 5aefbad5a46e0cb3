"""The images that a reader of own data finds, before they are split."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Part = Literal["train", "val", "test"]

AS_ONE_CLASS = "as one class"  # in the note on a class folder whose own folders may be the classes

MAX_DIGITS = 18  # Longer numbers are names, such as those of products.
PART_NAMES: dict[str, Part] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class FoundImage:
    """An image and its class, with the class named as in the data."""

    path: str  # posix path, relative to the image root
    classname: str
    part: Part | None = None  # None if the data name no part


@dataclass(frozen=True)
class Found:
    """All images of a source, and notes on them."""

    image_root: Path
    images: tuple[FoundImage, ...]
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        return in_label_order(image.classname for image in self.images)


def in_label_order(classnames: Iterable[str]) -> tuple[str, ...]:
    """Different names in label order: by number where all are whole numbers (0, 1, 2, 10), else by letters."""
    names = set(classnames)
    by_number = all(name.isdecimal() and len(name) <= MAX_DIGITS for name in names)
    return tuple(sorted(names, key=lambda name: (int(name), name) if by_number else (0, name)))
