"""Images with their captions in three lists: the form that every set of image-text pairs takes."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from datasets_fewshot.images.read import Reading, load_image


@dataclass(frozen=True, slots=True)
class Captioned:
    """One image with all its captions."""

    path: str  # posix path, relative to the pair set's image root
    captions: tuple[str, ...]  # at least one, none empty
    group: str  # images of one group belong to one part; the path itself where nothing says otherwise


@dataclass(frozen=True)
class PairSet:
    """Images with captions, and the folder or archive that holds the images."""

    name: str
    image_root: Path
    train: tuple[Captioned, ...]
    val: tuple[Captioned, ...]
    test: tuple[Captioned, ...]
    notes: tuple[str, ...] = ()  # what was left out or decided while the set was read
    reading: Reading = "upright"  # the way in which `load` turns a file into pixels

    def path(self, item: Captioned) -> Path:
        """Path of the item's image; it may lead into a .zip or a .tar."""
        return self.image_root / item.path

    def load(self, item: Captioned) -> Image.Image:
        """Read the item's image in RGB, in the way that `reading` names.

        Raises:
            BadImageError: if the file is missing, truncated or no image.
        """
        return load_image(self.path(item), self.reading)
