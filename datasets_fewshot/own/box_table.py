"""Read a table of boxes: each line with an image and the corners of one region of it."""

import math
from dataclasses import dataclass
from pathlib import Path

from adaptkit.regular_file import user_path
from datasets_fewshot.own.image_table import TABLE_SUFFIXES, TableOptions, table_rows
from datasets_fewshot.own.table_columns import PATH_COLUMNS, column_key
from datasets_fewshot.splits.validation import SplitError

CORNERS = ("x0", "y0", "x1", "y1")
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class BoxTable:
    """Boxes by image, as both are written; the line of each image's first box is for messages."""

    boxes: dict[str, list[Box]]
    lines: dict[str, int]


def read_box_table(place: str | Path, encoding: str | None = None) -> BoxTable:
    """Read a .csv, .tsv or .jsonl table with a column of images, such as `image`, and columns x0, y0, x1 and y1.

    Raises:
        FileNotFoundError: if there is no such table.
        SplitError: names the column that is missing, or the line whose corners are no numbers of a box.
        ValueError: if it is no table.
    """
    path = user_path(place, "table of boxes")
    if path.suffix.lower() not in TABLE_SUFFIXES:
        raise ValueError(f"{str(path)!r} is no table of boxes; give one of {', '.join(sorted(TABLE_SUFFIXES))}")
    names, rows = table_rows(path, TableOptions("x0", None, encoding))  # a heading is known by this column
    if not rows:
        raise SplitError(f"{path} lists no box")
    known = [column_key(name) for name in (names if names is not None else rows[0][1])]
    missing = [corner for corner in CORNERS if corner not in known]
    image = next((name for name in PATH_COLUMNS if name in known), None)
    if missing or image is None:
        raise SplitError(
            f"{path} has the columns {', '.join(map(repr, known))} and no {missing[0] if missing else 'image'!r}; give "
            "columns image, x0, y0, x1 and y1"
        )
    table = BoxTable({}, {})
    for line, row in rows:
        where, name = f"{path}: line {line}", row.get(image, "")
        if not name:
            raise SplitError(f"{where} has no image; fill it in or remove the line")
        table.boxes.setdefault(name, []).append(_box(row, where))
        table.lines.setdefault(name, line)
    return table


def _box(row: dict[str, str], where: str) -> Box:
    try:
        x0, y0, x1, y1 = (float(row.get(corner, "")) for corner in CORNERS)
    except ValueError:
        x0 = y0 = x1 = y1 = math.nan
    if not (all(map(math.isfinite, (x0, y0, x1, y1))) and 0 <= x0 < x1 and 0 <= y0 < y1):
        written = ", ".join(row.get(corner, "") for corner in CORNERS)
        raise SplitError(f"{where}: the box is {written!r}; expected four numbers with 0 <= x0 < x1 and 0 <= y0 < y1")
    return x0, y0, x1, y1
