"""Known layouts of the papers' data sets below a root folder, as other code bases arrange them."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """One arrangement of a data set's files."""

    name: str  # "coop" (CoOp's DATASETS.md), "torchvision" (its downloaders), "clip_lora" (CLIP-LoRA, Tip-Adapter)
    folder: str  # the data set's folder below the root; "" for the root itself
    images: str = ""  # the folder that split files are relative to, below `folder`
    marker: str = ""  # a folder below `images` that must exist as well, if `images` alone proves nothing


@dataclass(frozen=True)
class Place:
    """A layout that was found on disk, with its folders."""

    layout: Layout
    folder: Path
    image_root: Path

    def file(self, *names: str) -> Path:
        """Find the first of the named files that exists, in the folder, in the image root or above the folder.

        Raises:
            FileNotFoundError: names the files and the folders searched.
        """
        folders = list(dict.fromkeys((self.folder, self.image_root, self.folder.parent)))
        for name in names:
            for folder in folders:
                if (folder / name).is_file():
                    return folder / name
        looked = ", ".join(repr(str(folder)) for folder in folders)
        raise FileNotFoundError(f"found no {' or '.join(names)} in {looked}; it comes with the data set's annotations")


def find_places(root: Path, layouts: tuple[Layout, ...]) -> list[Place]:
    """Find the layouts that are present below the root, in the order given."""
    places = []
    for layout in layouts:
        folder = root / layout.folder
        image_root = folder / layout.images
        if (image_root / layout.marker).is_dir():
            places.append(Place(layout, folder, image_root))
    return places


def describe_layouts(root: Path, layouts: tuple[Layout, ...]) -> str:
    """Describe the layouts, one line each: the folder that would have been used."""
    folders = [(root / layout.folder / layout.images / layout.marker, layout.name) for layout in layouts]
    return ",\n".join(f"  {folder} ({name})" for folder, name in folders)
