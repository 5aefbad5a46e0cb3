"""Where the data sets of the papers lie below a root folder: the arrangements that people already have."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """One arrangement of a data set's files."""

    name: str  # "coop" (CoOp's DATASETS.md), "torchvision" (its downloaders), "clip_lora" (CLIP-LoRA, Tip-Adapter)
    folder: str  # the data set's folder below the root; "" for the root itself
    images: str = ""  # the folder that split files are relative to, below `folder`
    marker: str = ""  # a folder below `images` that must be there, where `images` alone proves nothing


@dataclass(frozen=True)
class Place:
    """A layout that was found."""

    layout: Layout
    folder: Path
    image_root: Path

    def file(self, *names: str) -> Path:
        """The first of the files that exists, looked for in the folder, in the image root and above the folder.

        Raises:
            FileNotFoundError: names the files and the folders.
        """
        folders = list(dict.fromkeys((self.folder, self.image_root, self.folder.parent)))
        for name in names:
            for folder in folders:
                if (folder / name).is_file():
                    return folder / name
        looked = ", ".join(repr(str(folder)) for folder in folders)
        raise FileNotFoundError(f"found no {' or '.join(names)} in {looked}; it comes with the data set's annotations")


def find_places(root: Path, layouts: tuple[Layout, ...]) -> list[Place]:
    """The layouts that are present below the root, in the order given."""
    places = []
    for layout in layouts:
        folder = root / layout.folder
        image_root = folder / layout.images
        if (image_root / layout.marker).is_dir():
            places.append(Place(layout, folder, image_root))
    return places


def describe_layouts(root: Path, layouts: tuple[Layout, ...]) -> str:
    """One line per layout: the folder that would have been taken."""
    folders = [(root / layout.folder / layout.images / layout.marker, layout.name) for layout in layouts]
    return ",\n".join(f"  {folder} ({name})" for folder, name in folders)
