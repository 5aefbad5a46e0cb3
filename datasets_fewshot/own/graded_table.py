"""Read a table of graded images: each line with a path, a number, and perhaps a part and the group it belongs to."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from adaptkit.regular_file import user_path
from datasets_fewshot.own.found import PART_NAMES, Part
from datasets_fewshot.own.image_table import TABLE_SUFFIXES, TableOptions, table_rows
from datasets_fewshot.own.table_columns import PART_COLUMNS, PATH_COLUMNS, UNASSIGNED, Row, column_key, looks_like_image
from datasets_fewshot.own.table_paths import check_path, place_paths
from datasets_fewshot.splits.validation import SplitError

GRADE_COLUMNS = ("grade", "mos", "score", "rating", "quality", "mean_score", "mos_score", "mean_opinion_score")


@dataclass(frozen=True)
class GradedColumns:
    """What a user says about a table of grades; None looks for usual names."""

    image: str | None = None
    grade: str | None = None
    group: str | None = None  # images with the same word here stay in one part; None: each image by itself
    encoding: str | None = None  # None recognises UTF-8, UTF-16 and UTF-32


@dataclass(frozen=True)
class GradedImage:
    """An image with its grade."""

    path: Path
    grade: float
    group: str  # images of one group show the same content; the path, where the table has no groups
    part: Part | None  # None where the table names no part


@dataclass(frozen=True)
class GradedTable:
    """The images of a table that are there, and notes on what was left out."""

    images: tuple[GradedImage, ...]
    notes: tuple[str, ...]


def read_graded_table(place: str | Path, columns: GradedColumns | None = None) -> GradedTable:
    """Read a .csv, .tsv or .jsonl table of images and grades. Paths are looked for below the table's folder.

    Raises:
        FileNotFoundError: if there is no such table.
        SplitError: names the columns if none is known to hold images or grades, or the line whose grade is no finite
            number or whose part is unknown; or says that no image is there.
        ValueError: if it is no table.
    """
    columns = columns or GradedColumns()
    path = user_path(place, "table of grades")
    if path.suffix.lower() not in TABLE_SUFFIXES:
        raise ValueError(f"{str(path)!r} is no table of grades; give one of {', '.join(sorted(TABLE_SUFFIXES))}")
    names, rows = table_rows(path, TableOptions(columns.image, columns.grade, columns.encoding))
    if not rows:
        raise SplitError(f"{path} lists no image")
    known = {column_key(name): name for name in (names if names is not None else rows[0][1])}
    cells = [row for _, row in rows]
    image = _column(columns.image, known, PATH_COLUMNS, path, "images", "--image-column", _image_columns(known, cells))
    grade = _column(columns.grade, known, GRADE_COLUMNS, path, "grades", "--grade-column", ())
    group = None if columns.group is None else _named(columns.group, known, path, "--group-column")
    part = next((name for name in PART_COLUMNS if name in known and name not in (image, grade, group)), None)
    placed = place_paths(path.parent, dict.fromkeys(row[image] for row in cells if row.get(image)))
    images, missing = [], []
    for line, row in rows:
        where, written = f"{path}: line {line}", row.get(image, "")
        if not written:
            raise SplitError(f"{where} has no path in its column {image!r}; fill it in or remove the line")
        check_path(written, where)
        number, its_part = _grade(row.get(grade, ""), where), _part(row.get(part, "") if part else "", where)
        if written in placed.files:
            file = path.parent / placed.files[written]
            images.append(GradedImage(file, number, row.get(group, "") if group else str(file), its_part))
        else:
            missing.append((line, written))
    if not images:
        raise SplitError(
            f"{path}: none of its {len(rows)} images is there, the first on line {missing[0][0]}: {missing[0][1]!r}; "
            "put the table above its images, or write paths relative to its folder"
        )
    notes = list(placed.notes)
    if missing:
        notes.append(
            f"{len(missing)} of {len(rows)} images of {path.name} are not there and were left out, the first on line "
            f"{missing[0][0]}: {missing[0][1]!r}"
        )
    return GradedTable(tuple(images), tuple(notes))


def _image_columns(known: Iterable[str], rows: Sequence[Row]) -> tuple[str, ...]:
    """Columns whose cells all end like images."""
    return tuple(name for name in known if all(looks_like_image(row.get(name, "")) for row in rows))


def _column(
    asked: str | None,
    known: dict[str, str],
    usual: Sequence[str],
    path: Path,
    what: str,
    option: str,
    fitting: Sequence[str],
) -> str:
    """The column of images or grades: as the user names it, one with a usual name, or the only one that fits."""
    if asked is not None:
        return _named(asked, known, path, option)
    found = [name for name in usual if name in known] or list(fitting)
    if found:
        return found[0]
    raise SplitError(
        f"{path} has the columns {', '.join(map(repr, known.values()))}, and none of them is called "
        f"{', '.join(map(repr, usual[:3]))} or alike; name the column of {what} with {option}"
    )


def _named(column: str, known: dict[str, str], path: Path, option: str) -> str:
    if column_key(column) not in known:
        raise SplitError(f"{option} is {column!r}, but {path} has the columns {', '.join(map(repr, known.values()))}")
    return column_key(column)


def _grade(cell: str, where: str) -> float:
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise SplitError(f"{where}: the grade is {cell!r}; expected a finite number, with a point for decimals")
    return number


def _part(cell: str, where: str) -> Part | None:
    if not cell or cell.lower() == UNASSIGNED:
        return None
    if cell.lower() not in PART_NAMES:
        raise SplitError(f"{where}: the part is {cell!r}; use train, val or test")
    return PART_NAMES[cell.lower()]
