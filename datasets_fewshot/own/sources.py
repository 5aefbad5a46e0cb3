"""Which reader a path of own data needs, and where its split and names lie."""

from dataclasses import dataclass
from pathlib import Path

from datasets_fewshot.own.found import Found
from datasets_fewshot.own.hf_folder import is_hf_folder, read_hf_folder
from datasets_fewshot.own.image_table import TABLE_SUFFIXES, TableOptions, read_table
from datasets_fewshot.own.image_tree import read_tree
from datasets_fewshot.own.metadata_folder import find_metadata, read_metadata
from datasets_fewshot.own.shards import is_shards, read_shards

SPLIT_FILE = "adaptkit_split.json"
OTHER_FORMS = {
    ".xlsx": "save it as CSV",
    ".xls": "save it as CSV",
    ".ods": "save it as CSV",
    ".json": "write one {...} per line and call it .jsonl; for detection data, cut the objects out first",
    ".zip": "unpack it",
    ".gz": "unpack it",
    ".tgz": "unpack it",
    ".7z": "unpack it",
    ".rar": "unpack it",
}


@dataclass(frozen=True)
class Source:
    """The images of a path, and the files that belong to them."""

    found: Found
    home: Path  # the folder where classnames.txt and the kept split lie
    split_file: Path
    name: str


def find_source(path: Path, options: TableOptions) -> Source:
    """Read the images of a folder, a table, shards or a Hugging Face data set.

    Raises:
        FileNotFoundError: if there is nothing at `path`.
        ValueError: if it is of no form that is read, or options of tables are given for something else.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is nothing at {str(path)!r}; give a folder, a table or a list of shards")
    if not path.is_dir() and not path.is_file():
        raise ValueError(f"{str(path)!r} is a pipe, a socket or a device; give a folder, a table or a list of shards")
    if path.suffix.lower() in TABLE_SUFFIXES and path.is_file():
        return Source(read_table(path, options), path.parent, path.with_suffix(".split.json"), path.stem)
    if path.is_dir() and (tables := find_metadata(path, options)):
        return Source(read_metadata(path, tables, options), path, path / SPLIT_FILE, path.resolve().name)
    if is_hf_folder(path) and not options.encoding:
        found = read_hf_folder(path, options.path_column, options.label_column)
        if path.is_file():
            return Source(found, path.parent, path.with_suffix(".split.json"), path.stem)
        return Source(found, path, path / SPLIT_FILE, path.name)
    if options:
        raise ValueError(
            f"--path-column, --label-column and --encoding are for tables, and {str(path)!r} is none; name the table "
            f"({', '.join(sorted(TABLE_SUFFIXES))})"
        )
    if is_shards(path):
        home = path if path.is_dir() else path.parent
        return Source(read_shards(path), home, home / SPLIT_FILE, path.stem)
    if path.is_dir():
        return Source(read_tree(path), path, path / SPLIT_FILE, path.resolve().name)
    how = OTHER_FORMS.get(path.suffix.lower())
    raise ValueError(
        f"{str(path)!r} is no folder, table ({', '.join(sorted(TABLE_SUFFIXES))}), .tar or list of .tar"
        + (f"; {how}" if how else "")
    )
