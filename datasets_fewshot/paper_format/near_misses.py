"""What nearly fits where a data set is not found: another root, another name of a folder, an archive not extracted."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from datasets_fewshot.images.folders import holds_images, subfolder, subfolders
from datasets_fewshot.paper_format.layouts import Layout, find_places

LEVELS = 2  # above and below the root that are searched for another root
MOST_FOLDERS = 200  # that are looked at on a level, so that a root such as "/" costs no minutes
MANY_HAVE = {"images", "jpg", "data", "Data"}  # folders whose names do not tell one data set from another
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".rar", ".7z")


def near_misses(root: Path, layouts: tuple[Layout, ...], title: str) -> list[str]:
    """Sentences about what was found instead, each with what to do; none if there is nothing like it."""
    if root.is_file():
        return [f"{str(root)!r} is a file; name the folder that holds the data sets"]
    if not root.is_dir():
        return [f"there is no folder {str(root)!r}"]
    other = next((path for path in _other_roots(root) if _is_there(path, layouts)), None)
    if other is not None:
        return [f"But {str(other)!r} has it: point --root there"]
    return [*_unnamed(root, layouts, title), *_archives(root, layouts), *_empty(root, layouts)]


def _is_there(root: Path, layouts: tuple[Layout, ...]) -> bool:
    # A layout without a folder would take any root; the others name the data set.
    return any(place.has_images for place in find_places(root, tuple(layout for layout in layouts if layout.folder)))


def _other_roots(root: Path) -> Iterator[Path]:
    """The folders above the root, nearest first, then those below it, level by level."""
    yield from islice(root.resolve().parents, LEVELS)
    level = [root]
    for _ in range(LEVELS):
        level = list(islice((inner for folder in level for inner in subfolders(folder)), MOST_FOLDERS))
        yield from level


def _unnamed(root: Path, layouts: tuple[Layout, ...], title: str) -> list[str]:
    """A root that has the image folder of a layout, but not the layout's name."""
    for layout in layouts:
        first = Path(layout.images or layout.marker).parts[:1]
        inner = subfolder(root, first[0]) if layout.folder and first else None
        if inner is not None and holds_images(inner):
            return [
                f"{str(root)!r} itself has a folder {inner.name!r}: if this is {title}, name the folder "
                f"{layout.folder!r} and point --root at its parent"
            ]
    return []


def _archives(root: Path, layouts: tuple[Layout, ...]) -> list[str]:
    """Archives in a layout's folder, or in the root under the name of a folder."""
    parts = {part for layout in layouts for part in Path(layout.folder, layout.images).parts}
    names = {_plain(part) for part in parts - MANY_HAVE}
    inside = {folder for layout in layouts if layout.folder and (folder := subfolder(root, layout.folder))}
    found = [path for path in _files(root) if any(name in _plain(path.name) for name in names)]
    found += [path for folder in sorted(inside) for path in _files(folder)]
    archives = [str(path) for path in found if path.name.lower().endswith(ARCHIVES)]
    return [f"Archives are not read; extract {', '.join(map(repr, archives))} where it lies"] if archives else []


def _empty(root: Path, layouts: tuple[Layout, ...]) -> list[str]:
    empty = [place.image_root for place in find_places(root, layouts) if not place.has_images]
    return [f"{str(empty[0])!r} is there, but has no image in it"] if empty else []


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in islice(folder.iterdir(), MOST_FOLDERS) if path.is_file())
    except OSError:
        return []


def _plain(name: str) -> str:
    """A name without case and signs: "101_ObjectCategories" -> "101objectcategories"."""
    return "".join(sign for sign in name.lower() if sign.isalnum())
