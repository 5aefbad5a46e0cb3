"""Read a table of images and captions: CSV, TSV, JSONL, or a .txt with a heading as Flickr8k has it.

A row is an image with one caption, or with a list of them; several rows of one image are its captions.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets_fewshot.own.table_columns import PART_COLUMNS, PATH_COLUMNS, column_key
from datasets_fewshot.own.table_paths import check_path
from datasets_fewshot.own.table_text import read_lines, split_cells
from datasets_fewshot.pairs.listed import Source
from datasets_fewshot.pairs.placing import Written, part_named, placed
from datasets_fewshot.splits.validation import SplitError

WHAT = "table of images and captions"
TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".jsonl"})  # and .txt, if it has the columns
CAPTION_COLUMNS = (
    "caption", "captions", "text", "texts", "sentence", "sentences", "description", "alt_text", "comment", "title",
)  # fmt: skip
GROUP_COLUMNS = ("group", "group_id")
PLACES = "image, caption and, if you like, group and split"

Row = Mapping[str, object]  # column, as `column_key` writes it -> cell: text, or any value of JSON


@dataclass(frozen=True)
class PairColumns:
    """What a user says about a table that it does not say itself; None looks for a usual name."""

    image: str | None = None
    caption: str | None = None
    group: str | None = None
    encoding: str | None = None  # None recognises UTF-8, UTF-16 and UTF-32

    def __bool__(self) -> bool:
        return any((self.image, self.caption, self.group, self.encoding))


USUAL = PairColumns()


@dataclass(frozen=True)
class _Chosen:
    """The columns that are read; several take each other's place where rows of JSON lack some of them."""

    image: tuple[str, ...]
    caption: tuple[str, ...]
    group: tuple[str, ...]
    part: tuple[str, ...]
    notes: tuple[str, ...] = ()


def read_pair_table(path: Path, columns: PairColumns = USUAL) -> Source:
    """Read a table; images are looked for below its folder, and those that are not there are counted in a note.

    Raises:
        SplitError: if it cannot be read, has no column of images or of captions, a cell is of another kind, a path
            climbs out of the folder, or none of its images is there; the message names the line.
    """
    names, rows = listed_rows(path, columns.encoding)
    if not rows:
        raise SplitError(f"{path} lists no image; write a heading with {PLACES}, and a row for every caption")
    chosen = _choose(names, [row for _, row in rows], str(path), columns)
    written = [_written(row, chosen, f"{path.name}: line {line}") for line, row in rows]
    return placed(path, path.stem, path.parent, written, chosen.notes)


def has_captions(path: Path, columns: PairColumns = USUAL) -> bool:
    """Whether a file is a table with columns of images and of captions."""
    try:
        names, rows = listed_rows(path, columns.encoding)
        _choose(names, [row for _, row in rows], str(path), columns)
    except SplitError:
        return False
    return True


def listed_rows(path: Path, encoding: str | None) -> tuple[list[str], list[tuple[int, Row]]]:
    """The columns as they are written, and the rows with their lines, counted from 1."""
    text = read_lines(path, WHAT, encoding)
    if path.suffix.lower() == ".jsonl":
        lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
        rows: list[tuple[int, Row]] = [(number, _json_row(line, f"{path}: line {number}")) for number, line in lines]
        return list(dict.fromkeys(key for _, row in rows for key in row)), rows
    cells = list(split_cells(text, "\t" if path.suffix.lower() == ".tsv" else ",", path))
    if not cells:
        return [], []
    line, names = cells[0]
    keys = [column_key(name) for name in names]
    twice = [name for name, key in zip(names, keys, strict=True) if name and keys.count(key) > 1]
    if twice:
        raise SplitError(f"{path}: line {line} has two columns called {twice[0]!r}; rename or remove one")
    return names, [(number, _cells_row(keys, row, f"{path}: line {number}")) for number, row in cells[1:]]


def _cells_row(keys: Sequence[str], cells: Sequence[str], where: str) -> Row:
    if any(cells[len(keys) :]):
        raise SplitError(
            f"{where} has {len(cells)} cells under {len(keys)} columns, the last {cells[-1][:80]!r}; put captions that "
            "hold a separator in quotes"
        )
    return dict(zip(keys, (*cells, *[""] * (len(keys) - len(cells))), strict=False))


def _json_row(line: str, where: str) -> Row:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SplitError(f"{where} is not JSON ({getattr(error, 'msg', None) or error})") from error
    if not isinstance(content, dict):
        raise SplitError(f'{where} is {str(content)[:80]!r}; expected {{"image": ..., "caption": ...}}')
    return {column_key(str(key)): value for key, value in content.items()}


def _choose(names: Sequence[str], rows: Sequence[Row], where: str, columns: PairColumns) -> _Chosen:
    known = {column_key(name): name for name in names}
    notes: list[str] = []
    image = known_columns(known, rows, where, columns.image, PATH_COLUMNS, "--image-column", "images")
    caption = known_columns(known, rows, where, columns.caption, CAPTION_COLUMNS, "--caption-column", "captions")
    for what, found in (("images", image), ("captions", caption)):
        if len(found) > 1 and any(sum(name in row for name in found) > 1 for row in rows):
            notes.append(f"{what} are read from the column {known[found[0]]!r} before {known[found[1]]!r}")
    group = (
        known_columns(known, rows, where, columns.group, GROUP_COLUMNS, "--group-column", "groups")
        if columns.group
        else tuple(name for name in GROUP_COLUMNS if name in known)
    )
    part = tuple(name for name in PART_COLUMNS if name in known and name not in (*image, *caption, *group))
    return _Chosen(image, caption, group, part, tuple(notes))


def known_columns(
    known: Mapping[str, str],
    rows: Sequence[Row],
    where: str,
    asked: str | None,
    usual: Sequence[str],
    option: str,
    what: str,
) -> tuple[str, ...]:
    """The columns that a user names, or those with usual names.

    Raises:
        SplitError: if there is none; the message names those that are there, and the option.
    """
    listed = ", ".join(repr(name) for name in list(known.values())[:10])
    if asked is not None:
        if column_key(asked) not in known:
            raise SplitError(f"{option} is {asked!r}, but {where} has the columns {listed}")
        return (column_key(asked),)
    found = tuple(name for name in usual if name in known)
    if not found:
        raise SplitError(
            f"{where} has the columns {listed}, and none of them is one of {what} ({', '.join(usual[:4])}, ...); name "
            f"it with {option}, or write a heading with {PLACES}"
        )
    return found


def _written(row: Row, chosen: _Chosen, where: str) -> Written:
    image = text_of(first_of(row, chosen.image), where, "image")
    if image:
        check_path(image, where)
    return Written(
        image,
        captions_of(first_of(row, chosen.caption), where),
        text_of(first_of(row, chosen.group), where, "group"),
        part_named(text_of(first_of(row, chosen.part), where, "part"), where),
        where,
    )


def first_of(row: Row, columns: Sequence[str]) -> object:
    """The cell of the first of some columns that a row has."""
    return next((row[column] for column in columns if column in row), None)


def text_of(value: object, where: str, what: str) -> str:
    """A cell as text, empty for none.

    Raises:
        SplitError: if it is of another kind.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | None):
        raise SplitError(f"{where}: the {what} is {str(value)[:80]!r}; expected text")
    return "" if value is None else str(value).strip()


def captions_of(value: object, where: str) -> tuple[str, ...]:
    """The captions of a cell: one text, a list of texts, or a list in JSON inside of a cell; none where it is empty.

    Raises:
        SplitError: if it is of another kind.
    """
    if value is None:
        return ()
    if isinstance(value, str):
        return _listed_in(value) if value.lstrip().startswith('["') else (value,)
    if isinstance(value, list) and all(isinstance(caption, str) for caption in value):
        return tuple(value)
    raise SplitError(f"{where}: the caption is {str(value)[:80]!r}; expected a text, or a list of texts")


def _listed_in(cell: str) -> tuple[str, ...]:
    try:
        content = json.loads(cell)
    except (ValueError, RecursionError):
        return (cell,)
    is_list = isinstance(content, list) and all(isinstance(caption, str) for caption in content)
    return tuple(content) if is_list else (cell,)
