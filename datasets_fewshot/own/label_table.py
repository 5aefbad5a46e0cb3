"""Read a table of images with several labels each: CSV, TSV or JSONL, each line with a path and perhaps a part."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets_fewshot.own.found import PART_NAMES, Part, in_label_order
from datasets_fewshot.own.image_table import AS_IT_IS, TABLE_SUFFIXES, Numbered, TableOptions, table_rows
from datasets_fewshot.own.label_cells import Form, form_of, label_cell, labels_in
from datasets_fewshot.own.left_out import is_printable
from datasets_fewshot.own.table_columns import UNASSIGNED, Columns, Row, choose_bare_columns, choose_columns
from datasets_fewshot.own.table_paths import check_path, place_paths
from datasets_fewshot.splits.validation import NAMES_SHOWN, SplitError


@dataclass(frozen=True)
class LabelledImage:
    """An image and its labels, none or several, as they are written."""

    path: str  # posix path, relative to the table's folder
    labels: tuple[str, ...]
    part: Part | None = None  # None if the table names no part


@dataclass(frozen=True)
class LabelTable:
    """The images of a table that are there."""

    image_root: Path
    images: tuple[LabelledImage, ...]
    classes: tuple[str, ...]  # all labels, in label order
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Listed:
    line: int
    path: str
    labels: tuple[str, ...]
    part: str


def has_several_labels(path: Path, options: TableOptions = AS_IT_IS) -> bool:
    """Whether a path is a table with lists of labels, or with columns that mark several classes of an image or none.

    What is no such table, or cannot be read, is another reader's.
    """
    if path.suffix.lower() not in TABLE_SUFFIXES or not path.is_file():
        return False
    try:
        columns, rows = _columns(path, options)
    except SplitError:
        return False
    return form_of([row for _, row in rows], columns) is not None


def read_label_table(path: Path, options: TableOptions = AS_IT_IS) -> LabelTable:
    """Read a table of images with labels. Paths are looked for below the table's folder.

    A table in which every image has one class is read as well, with one label of each image.

    Raises:
        SplitError: names the columns if none is known to hold images or labels, or the line with a label twice, in
            another form than the others, with other labels for an image than an earlier line, or an unknown part; or
            says that no image is there.
        ValueError: if it is no table.
    """
    if path.suffix.lower() not in TABLE_SUFFIXES or not path.is_file():
        raise ValueError(
            f"several labels per image are read from a table ({', '.join(sorted(TABLE_SUFFIXES))}), and {str(path)!r} "
            "is none; write one with a path and the labels in every line, as in photo.jpg,cat|dog"
        )
    columns, rows = _columns(path, options)
    form = form_of([row for _, row in rows], columns) or ("columns" if columns.one_hot else "bars")
    listed = [_listed(row, columns, form, path, line) for line, row in rows]
    return _there(path, listed, columns)


def _columns(path: Path, options: TableOptions) -> tuple[Columns, list[Numbered]]:
    names, rows = table_rows(path, options)
    if not rows:
        raise SplitError(f"{path} lists no image")
    where, cells = str(path), [row for _, row in rows]
    if names is None:
        return choose_bare_columns(cells, path.parent, where, options.path_column, options.label_column), rows
    return choose_columns(names, cells, where, options.path_column, options.label_column), rows


def _listed(row: Row, columns: Columns, form: Form, table: Path, line: int) -> _Listed:
    where = f"{table}: line {line}"
    path = next((row[column] for column in columns.path if column in row), "")
    if not path:
        raise SplitError(f"{where} has no path in its column {columns.path[0]!r}; fill it in or remove the line")
    check_path(path, where)
    is_json = table.suffix.lower() == ".jsonl"
    if is_json and not columns.one_hot and not label_cell(row, columns):
        raise SplitError(f"{where} has no labels; write [] for an image with none of them")
    labels = labels_in(row, columns, form, where, single_words=is_json)
    for label in labels:
        if not is_printable(label) or "\n" in label:
            raise SplitError(f"{where}: the label {label[:80]!a} is no name in one line; write it in UTF-8")
    part = next((row[column] for column in columns.part if column in row), "").lower()
    if part and part not in PART_NAMES and part != UNASSIGNED:
        raise SplitError(f"{where}: the part is {part!r}; use train, val or test")
    return _Listed(line, path, labels, part)


def _there(table: Path, listed: Sequence[_Listed], columns: Columns) -> LabelTable:
    root = table.parent
    placed = place_paths(root, dict.fromkeys(row.path for row in listed))
    missing = [row for row in listed if row.path not in placed.files]
    if len(missing) == len(listed):
        first = missing[0]
        raise SplitError(
            f"{table}: none of its {len(listed)} images is there; line {first.line}: the path {first.path!r} is no "
            f"file below {str(root.resolve())!r}; put the table above its images, or write paths relative to its folder"
        )
    there: dict[str, _Listed] = {}
    repeated = 0
    for row in listed:
        if (file := placed.files.get(row.path)) is None:
            continue
        first = there.setdefault(file, row)
        if first is not row:
            _check_repeated(first, row, table)
            repeated += 1
    images = tuple(
        LabelledImage(file, row.labels, PART_NAMES.get(row.part) if row.part else None) for file, row in there.items()
    )
    # A column of 0 and 1 is a class even where it marks no image, so that nothing vanishes without a word.
    named = columns.one_hot or tuple(label for row in listed for label in row.labels)
    notes = [*columns.notes, *placed.notes, *_notes(table, missing, repeated, images)]
    return LabelTable(root, images, in_label_order(named), tuple(notes))


def _check_repeated(first: _Listed, row: _Listed, table: Path) -> None:
    if set(first.labels) != set(row.labels) or first.part != row.part:
        differs = "labels" if set(first.labels) != set(row.labels) else "part"
        raise SplitError(
            f"{table}: line {row.line}: the image {row.path!r} has other {differs} than on line {first.line}; write an "
            "image once, with all of its labels"
        )


def _notes(table: Path, missing: Sequence[_Listed], repeated: int, images: Sequence[LabelledImage]) -> Iterator[str]:
    if missing:
        yield (
            f"{len(missing)} of the images of {table.name} are not there and were left out, the first on line "
            f"{missing[0].line}: {missing[0].path!r}"
        )
    if repeated:
        yield f"{repeated} lines of {table.name} repeat an image and were left out"
    empty = [image.path for image in images if not image.labels]
    if empty:
        shown = ", ".join(repr(path) for path in empty[:NAMES_SHOWN]) + (", ..." if len(empty) > NAMES_SHOWN else "")
        yield f"{len(empty)} of {len(images)} images have none of the labels: {shown}"
