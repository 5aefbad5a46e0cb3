"""Read Hugging Face's imagefolder: images with a metadata.csv or metadata.jsonl beside them, per part or for all."""

from dataclasses import replace
from pathlib import Path

from datasets_fewshot.own.found import PART_NAMES, Found, FoundImage, Part
from datasets_fewshot.own.image_table import TableOptions, has_classes, read_table
from datasets_fewshot.own.image_tree import walk_images
from datasets_fewshot.splits.validation import SplitError

METADATA_FILES = ("metadata.csv", "metadata.jsonl")

Tables = dict[Path, Part | None]  # table -> the part of its images, None where it does not say


def find_metadata(root: Path, options: TableOptions) -> Tables:
    """The tables of a folder and of its parts; none where the classes are folders, which such tables may describe too.

    Raises:
        SplitError: if there are tables without a column of classes, and no class folders either.
    """
    folders: dict[Path, Part | None] = {root: None}
    folders |= {
        folder: PART_NAMES[folder.name.lower()]
        for folder in sorted(root.iterdir())
        if folder.name.lower() in PART_NAMES and folder.is_dir()
    }
    tables = {folder / name: part for folder, part in folders.items() for name in METADATA_FILES}
    tables = {table: part for table, part in tables.items() if table.is_file()}
    useful = {table: part for table, part in tables.items() if has_classes(table, options)}
    if tables and not useful and not any(_has_class_folders(folder) for folder in folders):
        read_table(next(iter(tables)), options)  # says which columns there are
    return useful


def read_metadata(root: Path, tables: Tables, options: TableOptions) -> Found:
    """Read the tables; an image below train/, val/ or test/ is of that part."""
    images: list[FoundImage] = []
    notes: list[str] = []
    for table, part in tables.items():
        found = read_table(table, options)
        above = table.parent.relative_to(root).as_posix()
        for image in found.images:
            path = image.path if above == "." else f"{above}/{image.path}"
            images.append(replace(image, path=path, part=image.part or part or _part_of(path)))
        notes += [f"{table.relative_to(root)}: {note}" for note in found.notes]
    listed = {image.path for image in images}
    for folder in (path for path in sorted(root.iterdir()) if path.is_dir() and path.name.lower() in PART_NAMES):
        others = [p for p in walk_images(folder) if p.relative_to(root).as_posix() not in listed]
        if others:
            notes.append(f"{len(others)} images of {folder.name!r} are in no table and were left out")
    if len(listed) < len(images):
        twice = next(image.path for place, image in enumerate(images) if image.path in {i.path for i in images[:place]})
        raise SplitError(f"{root}: its tables list the image {twice!r} twice; keep one of the lines")
    return Found(root, tuple(images), tuple(notes))


def _part_of(path: str) -> Part | None:
    first, slash, _ = path.partition("/")
    return PART_NAMES.get(first.lower()) if slash else None


def _has_class_folders(folder: Path) -> bool:
    inside = (path for path in folder.iterdir() if path.is_dir() and path.name.lower() not in PART_NAMES)
    return any(next(walk_images(path), None) is not None for path in inside)
