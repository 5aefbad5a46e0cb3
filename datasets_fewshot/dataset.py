"""Labelled image files in three lists: the form that every data set takes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from PIL import Image

from datasets_fewshot.images.read import Reading, load_image


@dataclass(frozen=True, slots=True)
class Item:
    """One labelled image."""

    path: str  # posix path, relative to the data set's image root
    label: int  # counted from 0
    classname: str  # the class name in the split file; words may be joined by "_"


@dataclass(frozen=True)
class Split:
    """The three lists of a data set; their order matters, because few-shot draws depend on it."""

    train: tuple[Item, ...]
    val: tuple[Item, ...]
    test: tuple[Item, ...]

    def __iter__(self) -> Iterator[tuple[Item, ...]]:
        return iter((self.train, self.val, self.test))


@dataclass(frozen=True)
class FewShotDataset:
    """A split, and the folder or archive that holds its images."""

    name: str
    image_root: Path
    split: Split
    notes: tuple[str, ...] = ()  # remarks that every record must carry, such as "fallback split"
    reading: Reading = "paper"  # the way in which `load` turns a file into pixels
    # Path in the lists -> path on disk, where a mirror spells or nests it otherwise; the lists stay as published.
    moved: Mapping[str, str] = field(default_factory=dict, hash=False)

    @cached_property
    def classnames(self) -> tuple[str, ...]:
        """Class names in label order, C of them, as the lists write them."""
        names = {item.label: item.classname for items in self.split for item in items}
        return tuple(names[label] for label in sorted(names))

    def path(self, item: Item) -> Path:
        """Path of the item's image."""
        return self.image_root / self.moved.get(item.path, item.path)

    def load(self, item: Item) -> Image.Image:
        """Read the item's image in RGB, in the way that `reading` names.

        Raises:
            BadImageError: if the file is missing, truncated or no image.
        """
        return load_image(self.path(item), self.reading)
