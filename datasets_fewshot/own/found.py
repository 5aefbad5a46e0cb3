"""What a reader of own data finds, before it is split."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Part = Literal["train", "val", "test"]

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
    """An image and its class, named as the data name it."""

    path: str  # posix, relative to the image root
    classname: str
    part: Part | None = None  # where the data themselves say it


@dataclass(frozen=True)
class Found:
    """All images of a source."""

    image_root: Path
    images: tuple[FoundImage, ...]
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes in sorted order, which is label order."""
        return tuple(sorted({image.classname for image in self.images}))
