"""Read Hugging Face's imagefolder with captions: metadata.csv or metadata.jsonl beside the images of every part."""

from dataclasses import replace
from pathlib import Path

from datasets_fewshot.images.folders import subfolders
from datasets_fewshot.own.found import PART_NAMES, Part
from datasets_fewshot.own.image_tree import walk_images
from datasets_fewshot.own.metadata_folder import METADATA_FILES
from datasets_fewshot.pairs.listed import Listed, Source
from datasets_fewshot.pairs.pair_table import PairColumns, read_pair_table
from datasets_fewshot.splits.validation import SplitError

Tables = dict[Path, Part | None]  # table -> the part of its images, None where it does not say


def find_tables(root: Path) -> Tables:
    """The tables of a folder and of its train, val and test folders."""
    folders: dict[Path, Part | None] = {root: None}
    folders |= {
        folder: PART_NAMES[folder.name.lower()] for folder in subfolders(root) if folder.name.lower() in PART_NAMES
    }
    tables = {folder / name: part for folder, part in folders.items() for name in METADATA_FILES}
    return {table: part for table, part in tables.items() if table.is_file()}


def read_caption_folder(root: Path, tables: Tables, columns: PairColumns) -> Source:
    """Read the tables; an image below train/, val/ or test/ is of that part.

    Raises:
        SplitError: if a table cannot be read, or gives an image another part than its folder.
    """
    rows: list[Listed] = []
    notes: list[str] = []
    for table, part in tables.items():
        source = read_pair_table(table, columns)
        above = table.parent.relative_to(root).as_posix()
        for row in source.rows:
            path = row.path if above == "." else f"{above}/{row.path}"
            of_folder = part or _part_of(path)
            if row.part and of_folder and row.part != of_folder:
                raise SplitError(
                    f"{above}: {row.where}: {path!r} lies in {of_folder} and its row says {row.part}; correct one"
                )
            rows.append(replace(row, path=path, part=row.part or of_folder))
        notes += [f"{table.relative_to(root)}: {note}" for note in source.notes]
    listed = {row.path for row in rows}
    others = [path for path in (p.relative_to(root).as_posix() for p in walk_images(root)) if path not in listed]
    if others:
        notes.append(f"{len(others)} images are in no table and were left out, such as {others[0]!r}")
    return Source(root.resolve().name, root, tuple(rows), tuple(notes))


def _part_of(path: str) -> Part | None:
    first, slash, _ = path.partition("/")
    return PART_NAMES.get(first.lower()) if slash else None
