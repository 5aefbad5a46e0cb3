"""Read a table of images with several labels each: CSV, TSV or JSONL, each line with a path and perhaps a part."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets_fewshot.own.found import Part, in_label_order
from datasets_fewshot.own.image_table import AS_IT_IS, TABLE_SUFFIXES, TableOptions, columns_of
from datasets_fewshot.own.label_cells import Form, form_of, label_cell, labels_in
from datasets_fewshot.own.left_out import is_printable
from datasets_fewshot.own.table_columns import Columns, Row
from datasets_fewshot.own.table_lines import Listed, first_cell, look_for, written_part
from datasets_fewshot.own.table_paths import check_path
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


def has_several_labels(path: Path, options: TableOptions = AS_IT_IS) -> bool:
    """Whether a path is a table with lists of labels, or with columns that mark several classes of an image or none.

    What is no such table, or cannot be read, is another reader's.
    """
    if path.suffix.lower() not in TABLE_SUFFIXES or not path.is_file():
        return False
    try:
        columns, rows = columns_of(path, options)
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
    columns, rows = columns_of(path, options)
    form = form_of([row for _, row in rows], columns) or ("columns" if columns.one_hot else "bars")
    listed = [_listed(row, columns, form, path, line) for line, row in rows]
    return _label_table(path, listed, columns)


def _listed(row: Row, columns: Columns, form: Form, table: Path, line: int) -> Listed[tuple[str, ...]]:
    where = f"{table}: line {line}"
    path = first_cell(row, columns.path)
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
    return Listed(line, path, labels, written_part(row, columns, where))


def _label_table(table: Path, listed: Sequence[Listed[tuple[str, ...]]], columns: Columns) -> LabelTable:
    there = look_for(table, listed, lambda first, row: _check_repeated(first, row, table))
    images = tuple(LabelledImage(file, row.answer, row.part) for file, row in there.files.items())
    notes = [*columns.notes, *there.notes]
    empty = [image.path for image in images if not image.labels]
    if empty:
        shown = ", ".join(repr(path) for path in empty[:NAMES_SHOWN]) + (", ..." if len(empty) > NAMES_SHOWN else "")
        notes.append(f"{len(empty)} of {len(images)} images have none of the labels: {shown}")
    # A column of 0 and 1 is a class even where it marks no image, so that nothing vanishes without a word.
    named = columns.one_hot or tuple(label for row in listed for label in row.answer)
    return LabelTable(table.parent, images, in_label_order(named), tuple(notes))


def _check_repeated(first: Listed[tuple[str, ...]], row: Listed[tuple[str, ...]], table: Path) -> None:
    has_other_labels = set(first.answer) != set(row.answer)
    if has_other_labels or first.written_part != row.written_part:
        raise SplitError(
            f"{table}: line {row.line}: the image {row.path!r} has other {'labels' if has_other_labels else 'part'} "
            f"than on line {first.line}; write an image once, with all of its labels"
        )
