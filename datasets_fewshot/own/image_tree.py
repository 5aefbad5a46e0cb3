"""Read a tree of folders: one folder per class, with images at any depth below it."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from datasets_fewshot.images.read import IMAGE_SUFFIXES
from datasets_fewshot.own.found import AS_ONE_CLASS, PART_NAMES, Found, FoundImage, Part
from datasets_fewshot.own.left_out import LeftOut, is_printable
from datasets_fewshot.splits.validation import NAMES_SHOWN, SplitError

IGNORED_FOLDERS = frozenset({"__MACOSX", "__pycache__"})
TABLES = ("*.csv", "*.tsv", "*.jsonl", "*.tar")


def read_tree(root: Path) -> Found:
    """Read class folders below the root, or below train/, val/ and test/ if the root has a train folder.

    Links are followed; a file reached twice (by a link beside the original) is taken once. What is left out is noted.

    Raises:
        SplitError: if no class folder has an image, or one file is in two classes or parts, or the only folders are
            called train, val and test and hold images instead of class folders.
    """
    seen: dict[str, FoundImage] = {}
    images: list[FoundImage] = []
    left_out, empty, notes = LeftOut(), [], []
    parts = _part_folders(root)
    for part, folder in parts or [(None, root)]:
        for class_folder in _subfolders(folder, left_out):
            found = list(_images_below(class_folder, root, part, seen, left_out))
            images += found
            if found:
                notes += _notes_on_class(class_folder, root, found)
            else:
                empty.append(class_folder.name)
    if empty:
        notes.append(f"{len(empty)} class folders hold no image: {', '.join(empty[:NAMES_SHOWN])}")
    notes += _notes_on_root(root, parts)
    if not images:
        raise SplitError("; ".join((_no_images(root), *notes, *left_out.notes())))
    classes = dict.fromkeys(image.classname for image in images)
    if not parts and all(name.lower() in PART_NAMES for name in classes):
        raise SplitError(
            f"{str(root)!r} has the folders {', '.join(classes)}, which hold images and no class folders, so the "
            "classes are unknown; put the images of each class into a folder named after it, or give a table of path "
            "and class"
        )
    return Found(root, tuple(images), (*notes, *left_out.notes()))


def _no_images(root: Path) -> str:
    text = (
        f"{str(root)!r} holds no class folders with images ({', '.join(sorted(IMAGE_SUFFIXES))}); "
        "put the images of each class into a folder named after it"
    )
    tables = sorted(path.name for pattern in TABLES for path in root.glob(pattern))
    return f"{text}, or name the table with --data {str(root / tables[0])!r}" if tables else text


def _notes_on_class(folder: Path, root: Path, found: Sequence[FoundImage]) -> list[str]:
    """A note on a class whose images all lie in several folders of it, or that is called like a part."""
    above = f"{folder.relative_to(root).as_posix()}/"
    folders = sorted({image.path.removeprefix(above).rpartition("/")[0].partition("/")[0] for image in found})
    notes = []
    if len(folders) > 1 and folders[0]:  # "" stands for images in the class folder itself
        shown = ", ".join(folders[:NAMES_SHOWN]) + (", ..." if len(folders) > NAMES_SHOWN else "")
        notes.append(
            f"the folder {folder.name!r} counts {AS_ONE_CLASS}, with the images of its folders {shown}; if these are "
            f"the classes, give the folder {str(folder)!r}"
        )
    if folder.name.lower() in PART_NAMES:
        notes.append(f"the folder {folder.name!r} counts as a class of that name, because it holds images itself")
    return notes


def _notes_on_root(root: Path, parts: Sequence[tuple[Part | None, Path]]) -> list[str]:
    notes = []
    loose = _count_images(root)
    if loose:
        notes.append(f"{loose} images lie in no class folder, but in {root.name!r} itself, and were left out")
    if not parts:
        return notes
    taken = {folder for _, folder in parts}
    for folder in _subfolders(root):
        if folder in taken:
            continue
        if folder.name.lower() in PART_NAMES and _count_images(folder):
            notes.append(
                f"the folder {folder.name!r} was left out: it holds {_count_images(folder)} images and no class "
                "folders, so their classes are unknown"
            )
        elif next(walk_images(folder), None) is not None:
            notes.append(f"the folder {folder.name!r} was left out, because it lies beside {parts[0][1].name!r}")
    for _, folder in parts:
        if loose := _count_images(folder):
            notes.append(f"{loose} images lie in no class folder, but in {folder.name!r} itself, and were left out")
    return notes


def _count_images(folder: Path) -> int:
    """Images that lie in the folder itself."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_file()]
    return sum(Path(name).suffix.lower() in IMAGE_SUFFIXES for name in names)


def _part_folders(root: Path) -> list[tuple[Part | None, Path]]:
    """The parts of the data: those with class folders, if train is among them or nothing else has images."""
    folders = _subfolders(root)
    found: list[tuple[Part | None, Path]] = [
        (PART_NAMES[folder.name.lower()], folder) for folder in folders if _is_part(folder)
    ]
    if any(part == "train" for part, _ in found):
        return found
    taken = {folder for _, folder in found}
    return [] if any(next(walk_images(folder), None) for folder in folders if folder not in taken) else found


def _is_part(folder: Path) -> bool:
    return folder.name.lower() in PART_NAMES and bool(_subfolders(folder))


def _subfolders(folder: Path, left_out: LeftOut | None = None) -> list[Path]:
    folders = sorted(path for path in folder.iterdir() if path.is_dir() and _is_looked_into(path.name))
    for path in folders:
        if left_out is not None and not is_printable(path.name):
            left_out.odd_names.append(path.name)
    return [path for path in folders if is_printable(path.name)]


def _is_looked_into(name: str) -> bool:
    return not name.startswith(".") and name not in IGNORED_FOLDERS


def _images_below(
    class_folder: Path, root: Path, part: Part | None, seen: dict[str, FoundImage], left_out: LeftOut
) -> Iterator[FoundImage]:
    above = {os.path.realpath(root), os.path.realpath(class_folder.parent)}
    for path in walk_images(class_folder, above, left_out):
        real = os.path.realpath(path)  # unlike Path.resolve, it does not fail at a link that leads to itself
        image = FoundImage(path.relative_to(root).as_posix(), class_folder.name, part)
        first = seen.setdefault(real, image)
        if first is image:
            yield image
        elif (first.classname, first.part) != (image.classname, part):
            raise SplitError(f"{first.path!r} and {image.path!r} are one file; keep it in one class and one part")


def walk_images(folder: Path, visited: set[str] | None = None, left_out: LeftOut | None = None) -> Iterator[Path]:
    """Yield image files in sorted order, and dangling links, which are reported when the images are read.

    A folder that links reach twice is entered once, so that loops end.

    Args:
        visited: real paths of folders that are not entered; those that are entered are added.
        left_out: is told of files that are no images to us.
    """
    visited = set() if visited is None else visited
    real = os.path.realpath(folder)
    if real in visited:
        return
    visited.add(real)
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if _is_looked_into(entry.name))
    for name in names:
        path = folder / name
        if path.is_dir():
            if is_printable(name):
                yield from walk_images(path, visited, left_out)
            elif left_out is not None:
                left_out.odd_names.append(name)
        elif path.suffix.lower() in IMAGE_SUFFIXES and is_printable(name) and (path.is_file() or not path.exists()):
            yield path
        elif left_out is not None:
            left_out.add(path)
