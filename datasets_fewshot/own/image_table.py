"""Read a table of images: CSV, TSV or JSONL, each line with a path, a class and perhaps a part."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from datasets_fewshot.own.found import PART_NAMES, Found, FoundImage
from datasets_fewshot.splits.validation import SplitError, check_relative

TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".jsonl"})
PATH_COLUMNS = ("path", "file", "filename", "file_name", "image", "image_path")
CLASS_COLUMNS = ("class", "classname", "class_name", "label", "category")
PART_COLUMNS = ("split", "part", "set")

Row = dict[str, str]


def read_table(path: Path) -> Found:
    """Read a table of images.

    Paths are relative to the table's folder. A CSV without a heading has path and class in its first two columns.

    Raises:
        SplitError: names the line that lacks a path or class, has a path outside the folder or an unknown part.
    """
    images = [_image(row, f"{path}: line {number}") for number, row in _rows(path)]
    if not images:
        raise SplitError(f"{path} lists no image")
    return Found(path.parent, tuple(images))


def _rows(path: Path) -> Iterator[tuple[int, Row]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        if path.suffix.lower() == ".jsonl":
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, _json_row(line, f"{path}: line {number}")
            return
        reader = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        columns: list[str] | None = None
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if columns is None:
                names = [cell.strip().lower() for cell in cells]
                has_heading = any(name in PATH_COLUMNS for name in names)
                columns = names if has_heading else ["path", "class", "split"]
                if has_heading:
                    continue
            yield reader.line_num, dict(zip(columns, (cell.strip() for cell in cells), strict=False))


def _json_row(line: str, where: str) -> Row:
    try:
        content = json.loads(line)
    except json.JSONDecodeError as error:
        raise SplitError(f"{where} is not JSON ({error.msg})") from error
    if not isinstance(content, dict):
        raise SplitError(f'{where} is {content!r}; expected {{"path": ..., "class": ...}}')
    return {str(key).lower(): str(value) for key, value in content.items()}


def _image(row: Row, where: str) -> FoundImage:
    path, classname, part = (
        next((row[column] for column in columns if row.get(column)), "")
        for columns in (PATH_COLUMNS, CLASS_COLUMNS, PART_COLUMNS)
    )
    if not path or not classname:
        raise SplitError(f"{where} has the columns {sorted(row)}; it needs a path and a class, neither empty")
    if part and part.lower() not in PART_NAMES:
        raise SplitError(f"{where}: the part is {part!r}; use train, val or test")
    return FoundImage(check_relative(path, where), classname, PART_NAMES[part.lower()] if part else None)
