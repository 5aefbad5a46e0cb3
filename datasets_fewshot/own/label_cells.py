"""Cells of a table that hold several labels: a list in JSON, words between bars, or columns of 0 and 1.

    ["cat", "dog"]    cat|dog    a column "cat" and a column "dog", both with 1
An image with none of the labels has [] or, between bars and in columns, an empty cell or zeros.
"""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from datasets_fewshot.own.table_columns import ONE_HOT, Columns, Row
from datasets_fewshot.splits.validation import SplitError

BAR = "|"
Form = Literal["list", "bars", "columns"]


def is_list(cell: str) -> bool:
    """Whether a cell is a list in JSON."""
    return cell.startswith("[") and isinstance(_parsed(cell), list)


def names_several(cell: str) -> bool:
    """Whether a cell is written in a form for several labels, whatever their number."""
    return BAR in cell or is_list(cell)


def form_of(rows: Sequence[Row], columns: Columns) -> Form | None:
    """The form in which rows have several labels or none; None where each row names one class."""
    if columns.one_hot:
        return "columns" if any(len(marked_classes(row, columns)) != 1 for row in rows) else None
    cells = [label_cell(row, columns) for row in rows]
    if any(is_list(cell) for cell in cells):
        return "list"
    return "bars" if any(BAR in cell for cell in cells) else None


def label_cell(row: Row, columns: Columns) -> str:
    """The cell with the labels of a row."""
    return next((row[column] for column in columns.label if column in row), "")


def marked_classes(row: Row, columns: Columns) -> tuple[str, ...]:
    """The classes whose columns of a row hold 1."""
    named = zip(columns.label, columns.one_hot, strict=True)
    return tuple(name for column, name in named if ONE_HOT.get(row.get(column, "0").lower(), False))


def labels_in(row: Row, columns: Columns, form: Form, where: str, single_words: bool) -> tuple[str, ...]:
    """The labels of a row, as written and in the order in which they are written.

    Args:
        where: the line, for messages.
        single_words: whether among lists one word stands for a list of that word, as in lines of JSON.

    Raises:
        SplitError: if the cell has another form than the table, a label twice, or an empty one.
    """
    if form == "columns":
        return marked_classes(row, columns)
    cell = label_cell(row, columns)
    if form == "bars":
        words = [word.strip() for word in cell.split(BAR)] if cell else []
    elif is_list(cell):
        words = _words(json.loads(cell), where)
    elif cell and single_words:
        words = [cell]
    else:
        raise SplitError(
            f'{where} has the label {cell!r}, and other lines have lists such as ["cat", "dog"]; write a list in '
            "every line, [] for an image with none of the labels"
        )
    if "" in words:
        raise SplitError(f"{where} has an empty label in {cell!r}; write its name, or leave out the sign beside it")
    twice = [word for word, count in Counter(words).items() if count > 1]
    if twice:
        raise SplitError(f"{where} has the label {twice[0]!r} twice; keep one of them")
    return tuple(words)


def _words(values: list[object], where: str) -> list[str]:
    if bad := [value for value in values if isinstance(value, bool) or not isinstance(value, str | int)]:
        raise SplitError(f'{where} has {json.dumps(bad[0])[:80]} among its labels; write names, as in ["cat", "dog"]')
    return [str(value).strip() for value in values]


def _parsed(cell: str) -> object:
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return None
