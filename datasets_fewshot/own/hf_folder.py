"""Read a Hugging Face data set on disk: its images are copied, once, into a zip in the cache.

Two forms are read, both of Apache Arrow: what `datasets.Dataset.save_to_disk` wrote, and the Parquet files that the Hub
gives. Only pyarrow is needed; nothing that lies beside the tables is run.
"""

import hashlib
import json
import os
import re
import zipfile
from itertools import islice
from pathlib import Path
from urllib.parse import quote, unquote

from adaptkit.regular_file import read_bytes, read_json
from datasets_fewshot.images.archives import list_members
from datasets_fewshot.images.folders import holds_images, subfolders
from datasets_fewshot.own.found import PART_NAMES, Found, FoundImage
from datasets_fewshot.own.hf_tables import PARQUET, read_columns, read_rows, require_pyarrow
from datasets_fewshot.splits.validation import SplitError
from datasets_fewshot.store.cache_folder import cache_folder

WHOLE = "all"  # part name for data without parts
LEVELS = 2  # of folders that are searched for Parquet
MOST_FOLDERS = 200  # that are searched on a level; a folder of more is one of classes
FORMAT = "2"  # raised when the same files give other rows

Tables = dict[str, list[Path]]  # part, or WHOLE -> files in order


def is_hf_folder(path: Path) -> bool:
    """Whether it is what `save_to_disk` wrote, Parquet, or a folder of Parquet files and no images."""
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        return True
    if path.suffix.lower() == PARQUET and path.is_file():
        return True
    return path.is_dir() and bool(_parquet_files(path)) and not holds_images(path, depth=LEVELS)


def read_hf_folder(path: Path, image_column: str | None = None, label_column: str | None = None) -> Found:
    """Read all rows.

    Args:
        image_column: the column of images; None takes the only one.
        label_column: the column of classes; None takes the only column of class labels, else the only one that is
            called like a class.

    Raises:
        ImportError: if pyarrow is not installed.
        SplitError: if it is not clear what the columns or the parts are, a file cannot be read, or a row has no image
            or no class (named by file and row).
    """
    asked = json.dumps([FORMAT, image_column, label_column])
    archive = cache_folder() / "hf" / f"{path.resolve().name}-{_fingerprint(path, asked)}.zip"
    if not archive.is_file():
        require_pyarrow(path)
        _export(_find_tables(path), archive, image_column, label_column)
    return Found(archive, tuple(_found(member) for member in list_members(archive)))


def _found(member: str) -> FoundImage:
    part, classname, _ = member.split("/")
    return FoundImage(member, unquote(classname), None if part == WHOLE else PART_NAMES[part])


def _fingerprint(path: Path, asked: str) -> str:
    """Hash of the rows: from what `save_to_disk` writes into each state.json, or from the Parquet files' marks."""
    digest = hashlib.sha256(asked.encode())
    for file in sorted(path.rglob("state.json")):
        digest.update(file.relative_to(path).as_posix().encode() + read_bytes(file, "state of a data set"))
    for file in _parquet_files(path):
        status = file.stat()
        digest.update(f"{file.name}\t{status.st_size}\t{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _find_tables(path: Path) -> Tables:
    """The files of every part."""
    if (path / "dataset_dict.json").is_file():
        content = read_json(path / "dataset_dict.json", "list of parts")
        names = content.get("splits") if isinstance(content, dict) else None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise SplitError(f"{str(path / 'dataset_dict.json')!r} lists no parts; save the data set again")
        unknown = sorted(set(names) - set(PART_NAMES))
        if unknown:
            raise SplitError(f"{str(path)!r} has the parts {unknown}; rename them to train, validation or test")
        return {name: _saved_files(path / name) for name in names}
    if (path / "state.json").is_file():
        return {WHOLE: _saved_files(path)}
    return _parquet_parts(path)


def _saved_files(folder: Path) -> list[Path]:
    """The files that `save_to_disk` listed; they lie in its folder."""
    content = read_json(folder / "state.json", "state of a data set")
    listed = content.get("_data_files") if isinstance(content, dict) else None
    names = [row.get("filename") if isinstance(row, dict) else None for row in listed or []]
    if not names or any(not isinstance(name, str) or Path(name).name != name for name in names):
        raise SplitError(f"{str(folder / 'state.json')!r} lists no files of this folder; save the data set again")
    return [folder / str(name) for name in names]


def _parquet_files(path: Path) -> list[Path]:
    """Parquet files in a folder and up to two levels below, or the file itself."""
    if path.is_file():
        return [path] if path.suffix.lower() == PARQUET else []
    level, files = [path], []
    for _ in range(LEVELS + 1):
        for folder in level:
            files += [f for f in sorted(folder.glob(f"*{PARQUET}")) if f.is_file() and not f.name.startswith(".")]
        level = [inner for folder in level for inner in islice(subfolders(folder), MOST_FOLDERS)][:MOST_FOLDERS]
    return files


def _parquet_parts(path: Path) -> Tables:
    """Parquet files by part: "train-00000-of-00002.parquet", or "0000.parquet" in a folder "train".

    Raises:
        SplitError: if only some files are of a part, or a part lies in several folders, the Hub's configurations.
    """
    parts: Tables = {}
    for file in _parquet_files(path):
        first = re.split(r"[^a-z]", file.stem.lower(), maxsplit=1)[0]
        part = next((name for name in (first, file.parent.name.lower()) if name in PART_NAMES), WHOLE)
        parts.setdefault(part, []).append(file)
    if len(parts) > 1 and WHOLE in parts:
        raise SplitError(f"{str(parts[WHOLE][0])!r} is of no part, and other files are; name it train-..., or move it")
    for part, files in parts.items():
        folders = list(dict.fromkeys(file.parent for file in files))
        if len(folders) > 1:
            names = ", ".join(str(folder) for folder in folders)
            raise SplitError(f"{str(path)!r} has {part} in several folders ({names}); name one of them")
    return parts


def _export(tables: Tables, archive: Path, image_column: str | None, label_column: str | None) -> None:
    first = next((file for files in tables.values() for file in files), None)
    if first is None:
        raise SplitError(f"{archive.stem.rpartition('-')[0]!r} has no part at all; save the data set again")
    columns = read_columns(first, image_column, label_column)
    archive.parent.mkdir(parents=True, exist_ok=True)
    temporary = archive.with_name(f".{archive.name}.{os.getpid()}")
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as zipped:
            for part, files in tables.items():
                rows = (row for file in files for row in read_rows(file, columns))
                for index, row in enumerate(rows):
                    # The class is quoted, because it may contain a slash, as in "indoor/outdoor".
                    zipped.writestr(f"{part}/{quote(row.classname, safe=' ')}/{index:07d}", row.content)
        temporary.replace(archive)
    finally:
        temporary.unlink(missing_ok=True)
