"""Known layouts of the papers' data sets below a root folder, as other code bases arrange them."""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from datasets_fewshot.images.folders import doubled, holds_images, subfolder, subfolders

SUBFOLDERS_SEARCHED = 50  # of a folder, for a file that lies deeper than usual


@dataclass(frozen=True)
class Layout:
    """One arrangement of a data set's files."""

    name: str  # "coop" (CoOp's DATASETS.md), "torchvision" (its downloaders), "clip_lora" (CLIP-LoRA, Tip-Adapter)
    folder: str  # the data set's folder below the root; "" for the root itself
    images: str = ""  # the folder that split files are relative to, below `folder`
    marker: str = ""  # a folder below `images` that must exist as well, if `images` alone proves nothing
    holds: str = ""  # a pattern that a folder below `marker` must match, if many folders are named like it


@dataclass(frozen=True)
class Place:
    """A layout that was found on disk, with its folders."""

    layout: Layout
    root: Path
    folder: Path
    image_root: Path

    @property
    def has_images(self) -> bool:
        """Whether there is any image at all; an empty folder may be left over from a download."""
        marked = subfolder(self.image_root, self.layout.marker) if self.layout.marker else self.image_root
        return marked is not None and holds_images(marked)

    @property
    def is_exact(self) -> bool:
        """Whether the folders are called and nested as the layout says."""
        return self.image_root == self.root / self.layout.folder / self.layout.images

    def folders(self) -> list[Path]:
        """Folders in which the files of the data set may lie, best first; the image folder may be a link."""
        beside = self.image_root.resolve().parent
        folders = (self.folder, self.image_root.parent, self.image_root, self.folder.parent, beside)
        different: dict[Path, Path] = {}
        for folder in folders:
            different.setdefault(folder.resolve(), folder)
        return list(different.values())

    def file(self, *names: str) -> Path:
        """Find the first of the named files that exists, beside the images, among them or above the folder.

        Raises:
            FileNotFoundError: names the files and the folders searched.
        """
        folders = self.folders()
        for name in names:
            for folder in folders:
                if (folder / name).is_file():
                    return folder / name
        for name in names:  # archives are often extracted into a folder of their own
            for folder in self._inner_folders():
                if (folder / name).is_file():
                    return folder / name
        looked = ", ".join(repr(str(folder)) for folder in folders)
        raise FileNotFoundError(f"found no {' or '.join(names)} in {looked}; it comes with the data set's annotations")

    def _inner_folders(self) -> list[Path]:
        if self.folder == self.root:
            return []
        inner = [path for path in islice(subfolders(self.folder), SUBFOLDERS_SEARCHED) if path != self.image_root]
        return [*inner, *(path for folder in inner for path in islice(subfolders(folder), SUBFOLDERS_SEARCHED))]


def find_places(root: Path, layouts: tuple[Layout, ...]) -> list[Place]:
    """Find the layouts that are present below the root, those with images first, otherwise in the order given.

    If none is there as described, folders are taken whose names differ in case, and folders that lie in another one
    of the same name, as many mirrors have them.
    """
    exact = [place for layout in layouts if (place := _exact(root, layout)) is not None]
    with_images = [place for place in exact if place.has_images]
    if not with_images:
        loose = [place for layout in layouts if (place := _loose(root, layout)) is not None]
        with_images = [place for place in loose if place.has_images]
    return [*with_images, *(place for place in exact if place not in with_images)]


def _exact(root: Path, layout: Layout) -> Place | None:
    place = Place(layout, root, root / layout.folder, root / layout.folder / layout.images)
    if doubled(place.image_root) is not None and not layout.marker:
        return None
    return place if _is_marked(place.image_root / layout.marker, layout.holds) else None


def _loose(root: Path, layout: Layout) -> Place | None:
    folder = _walk(root, layout.folder, is_root=True)
    image_root = folder and _walk(folder, layout.images, is_root=not layout.folder)
    if folder is None or image_root is None:
        return None
    while (inner := doubled(image_root)) is not None and image_root != root:
        image_root = inner
    marked = subfolder(image_root, layout.marker) if layout.marker else image_root
    if marked is None or not _is_marked(marked, layout.holds):
        return None
    return Place(layout, root, folder, image_root)


def _walk(folder: Path, path: str, is_root: bool) -> Path | None:
    """Follow a path of folders in any case; a folder may lie in another one of its name."""
    found: Path | None = folder
    for part in Path(path).parts:
        assert found is not None
        below, inner = subfolder(found, part), None if is_root else subfolder(found, found.name)
        found = below or (inner and subfolder(inner, part))
        is_root = False
        if found is None:
            return None
    return found


def _is_marked(folder: Path, holds: str) -> bool:
    return folder.is_dir() and (not holds or any(path.is_dir() for path in folder.glob(holds)))


def describe_layouts(root: Path, layouts: tuple[Layout, ...]) -> str:
    """Describe the layouts, one line each: the folder that would have been used."""
    lines = []
    for layout in layouts:
        folder = root / layout.folder / layout.images / layout.marker
        lacks = f", which has no folder {layout.holds}" if layout.holds and folder.is_dir() else ""
        lines.append(f"  {folder} ({layout.name}){lacks}")
    return ",\n".join(lines)
