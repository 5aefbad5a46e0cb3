"""Read a table of images: CSV, TSV or JSONL, each line with a path, a class and perhaps a part."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets_fewshot.own.found import Found, FoundImage
from datasets_fewshot.own.label_cells import label_cell, marked_classes, names_several
from datasets_fewshot.own.left_out import is_printable
from datasets_fewshot.own.table_columns import (
    CLASS_COLUMNS,
    PART_COLUMNS,
    PATH_COLUMNS,
    Columns,
    Row,
    choose_bare_columns,
    choose_columns,
    column_key,
    is_image_cell,
    looks_like_image,
)
from datasets_fewshot.own.table_lines import Listed, first_cell, look_for, written_part
from datasets_fewshot.own.table_paths import check_path
from datasets_fewshot.own.table_text import read_lines, split_cells
from datasets_fewshot.splits.validation import NAMES_SHOWN, SplitError

TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".jsonl"})
SEVERAL = "`adaptkit train` and `eval` learn and test several labels per image from such a table"
HEADINGS = frozenset((*PATH_COLUMNS, *CLASS_COLUMNS, *PART_COLUMNS))

Numbered = tuple[int, Row]  # line, counted from 1, and its cells by column


@dataclass(frozen=True)
class TableOptions:
    """What a user says about a table that it does not say itself."""

    path_column: str | None = None  # its heading, or its number from 1 where there is no heading
    label_column: str | None = None
    encoding: str | None = None  # None recognises UTF-8, UTF-16 and UTF-32

    def __bool__(self) -> bool:
        return any((self.path_column, self.label_column, self.encoding))


AS_IT_IS = TableOptions()


def read_table(path: Path, options: TableOptions = AS_IT_IS) -> Found:
    """Read a table of images.

    Paths are looked for below the table's folder. Without a heading, the column of images is recognised by its cells.
    Missing images are counted in a note, and so are lines that repeat an image.

    Raises:
        SplitError: names the columns if none is known to hold images or classes, or the line that lacks a class,
            has another class for an image than an earlier line, or has an unknown part; or says that no image is there.
    """
    columns, rows = columns_of(path, options)
    for line, row in rows:
        if names_several(cell := label_cell(row, columns)):
            raise SplitError(f"{path}: line {line} has the labels {cell!r}, and one class is needed here; {SEVERAL}")
    listed = [_listed(row, columns, f"{path}: line {line}", line) for line, row in rows]
    return _found(path, listed, columns)


def columns_of(path: Path, options: TableOptions) -> tuple[Columns, list[Numbered]]:
    """The columns of a table that are read, and its rows.

    Raises:
        SplitError: if it cannot be read, lists nothing, or no column is known to hold images or classes.
    """
    names, rows = table_rows(path, options)
    if not rows:
        raise SplitError(f"{path} lists no image")
    where, cells = str(path), [row for _, row in rows]
    if names is None:
        return choose_bare_columns(cells, path.parent, where, options.path_column, options.label_column), rows
    return choose_columns(names, cells, where, options.path_column, options.label_column), rows


def has_classes(path: Path, options: TableOptions = AS_IT_IS) -> bool:
    """Whether a table has columns of images and of classes."""
    try:
        names, rows = table_rows(path, options)
        choose_columns(names or (), [row for _, row in rows], str(path), options.path_column, options.label_column)
    except SplitError:
        return False
    return True


def table_rows(path: Path, options: TableOptions) -> tuple[Sequence[str] | None, list[Numbered]]:
    """The columns as they are written (None without a heading), and the rows.

    Raises:
        SplitError: if the table cannot be read; the message names the line.
    """
    text = read_lines(path, "table of images", options.encoding)
    if path.suffix.lower() == ".jsonl":
        lines = [(n, line) for n, line in enumerate(text.split("\n"), start=1) if line.strip()]
        rows = [(n, _json_row(line, f"{path}: line {n}")) for n, line in lines]
        return list(dict.fromkeys(key for _, row in rows for key in row)), rows
    cells = list(split_cells(text, "\t" if path.suffix.lower() == ".tsv" else ",", path))
    if not cells:
        return None, []
    first = cells[0][1]
    if not _is_heading(first, path.parent, options):
        names = [str(number) for number in range(1, max(len(row) for _, row in cells) + 1)]
        return None, [(line, _by_column(names, row, "")) for line, row in cells]
    keys = [column_key(name) for name in first]
    twice = [name for name, key in zip(first, keys, strict=True) if name and keys.count(key) > 1]
    if twice:
        raise SplitError(f"{path}: line {cells[0][0]} has two columns called {twice[0]!r}; rename or remove one")
    return first, [(line, _by_column(keys, row, f"{path}: line {line}")) for line, row in cells[1:]]


def _is_heading(cells: Sequence[str], root: Path, options: TableOptions) -> bool:
    keys = {column_key(cell) for cell in cells}
    asked = {column_key(name) for name in (options.path_column, options.label_column) if name}
    if any(looks_like_image(cell) for cell in cells):
        return False
    return bool(keys & (HEADINGS | asked)) or not any(is_image_cell(cell, root) for cell in cells)


def _by_column(names: Sequence[str], cells: list[str], where: str) -> Row:
    if len(cells) > len(names) and any(cells[len(names) :]):
        raise SplitError(
            f"{where} has {len(cells)} cells under {len(names)} columns, the last {cells[-1]!r}; put text that holds a "
            "separator in quotes"
        )
    return dict(zip(names, cells + [""] * (len(names) - len(cells)), strict=False))


def _json_row(line: str, where: str) -> Row:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SplitError(f"{where} is not JSON ({getattr(error, 'msg', None) or error})") from error
    if not isinstance(content, dict):
        raise SplitError(f'{where} is {str(content)[:80]!r}; expected {{"path": ..., "class": ...}}')
    return {column_key(str(key)): _json_cell(value) for key, value in content.items()}


def _json_cell(value: object) -> str:
    """A value as a table would have it: one word in a list is that word, another list stays one, and null is empty."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else str(value).strip()


def _listed(row: Row, columns: Columns, where: str, line: int) -> Listed[str]:
    path = first_cell(row, columns.path)
    classname = _one_of(row, columns, where) if columns.one_hot else first_cell(row, columns.label)
    if not path or not classname:
        lacks = "path" if not path else "class"
        asked = (columns.path if not path else columns.label)[0]
        raise SplitError(
            f"{where} has no {lacks} in its column {asked!r} (it has the columns {sorted(row)}); it needs a path and a "
            "class, neither empty: fill it in or remove the line"
        )
    check_path(path, where)
    if not is_printable(classname):
        raise SplitError(f"{where}: the class {classname!a} is no text; write it in UTF-8")
    if "\n" in classname:
        raise SplitError(f"{where}: the class {classname[:80]!r} goes over several lines; close the quotes before it")
    return Listed(line, path, classname, written_part(row, columns, where))


def _one_of(row: Row, columns: Columns, where: str) -> str:
    marked = marked_classes(row, columns)
    if len(marked) != 1:
        shown = ", ".join(columns.one_hot[:NAMES_SHOWN])
        raise SplitError(
            f"{where} marks {len(marked)} of the classes {shown}; an image has to have one class here; {SEVERAL}"
        )
    return marked[0]


def _found(path: Path, listed: Sequence[Listed[str]], columns: Columns) -> Found:
    there = look_for(path, listed, lambda first, row: _check_repeated(first, row, path))
    images = tuple(FoundImage(file, row.answer, row.part) for file, row in there.files.items())
    notes = [*columns.notes, *there.notes]
    gone = {row.answer for row in there.missing} - {row.answer for row in there.files.values()}
    if gone:
        notes.append(f"no image is left of the classes {', '.join(sorted(gone)[:NAMES_SHOWN])}")
    return Found(path.parent, images, tuple(notes))


def _check_repeated(first: Listed[str], row: Listed[str], path: Path) -> None:
    for what, one, other in (("class", first.answer, row.answer), ("part", first.written_part, row.written_part)):
        if one != other:
            raise SplitError(
                f"{path}: line {row.line}: the image {row.path!r} has the {what} {other!r} here and {one!r} on line "
                f"{first.line}; keep one of the lines"
            )
