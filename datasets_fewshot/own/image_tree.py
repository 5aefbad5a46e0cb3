"""Read a tree of folders: one folder per class, with images at any depth below it."""

import os
from collections.abc import Iterator
from pathlib import Path

from datasets_fewshot.images.read import IMAGE_SUFFIXES
from datasets_fewshot.own.found import PART_NAMES, Found, FoundImage, Part
from datasets_fewshot.splits.validation import SplitError

IGNORED_FOLDERS = frozenset({"__MACOSX", "__pycache__"})


def read_tree(root: Path) -> Found:
    """Read class folders below the root, or below train/, val/ and test/ if the root has a train folder.

    Links are followed; a file reached twice (by a link beside the original) is taken once.

    Raises:
        SplitError: if no class folder has an image, or one file is in two classes or parts.
    """
    seen: dict[Path, FoundImage] = {}
    images: list[FoundImage] = []
    empty: list[str] = []
    for part, folder in _part_folders(root) or [(None, root)]:
        for class_folder in _subfolders(folder):
            found = list(_images_below(class_folder, root, class_folder.name, part, seen))
            images += found
            if not found:
                empty.append(class_folder.name)
    if not images:
        raise SplitError(
            f"{str(root)!r} holds no class folders with images ({', '.join(sorted(IMAGE_SUFFIXES))}); "
            "put the images of each class into a folder named after it"
        )
    notes = (f"{len(empty)} class folders hold no image: {', '.join(empty[:5])}",) if empty else ()
    return Found(root, tuple(images), notes)


def _part_folders(root: Path) -> list[tuple[Part | None, Path]]:
    found: list[tuple[Part | None, Path]] = [
        (PART_NAMES[folder.name.lower()], folder) for folder in _subfolders(root) if _is_part(folder)
    ]
    return found if any(part == "train" for part, _ in found) else []


def _is_part(folder: Path) -> bool:
    return folder.name.lower() in PART_NAMES and bool(_subfolders(folder))


def _subfolders(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_dir() and not path.name.startswith(".") and path.name not in IGNORED_FOLDERS
    )


def _images_below(
    folder: Path, root: Path, classname: str, part: Part | None, seen: dict[Path, FoundImage]
) -> Iterator[FoundImage]:
    for path in walk_images(folder, frozenset({root.resolve(), folder.parent.resolve()})):
        real = path.resolve()
        image = FoundImage(path.relative_to(root).as_posix(), classname, part)
        first = seen.setdefault(real, image)
        if first is image:
            yield image
        elif (first.classname, first.part) != (classname, part):
            raise SplitError(f"{first.path!r} and {image.path!r} are one file; keep it in one class and one part")


def walk_images(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Yield image files in sorted order, and dangling links, which are reported when the images are read.

    A link back to a folder above is not followed, because the walk would never end.
    """
    real = folder.resolve()
    if real in above:
        return
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    for name in names:
        path = folder / name
        if path.is_dir():
            if name not in IGNORED_FOLDERS:
                yield from walk_images(path, above | {real})
        elif path.suffix.lower() in IMAGE_SUFFIXES and (path.is_file() or path.is_symlink()):
            yield path
