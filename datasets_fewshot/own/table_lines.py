"""What the lines of a table of images list, and which of these images are there."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from datasets_fewshot.own.found import PART_NAMES, Part
from datasets_fewshot.own.table_columns import UNASSIGNED, Columns, Row
from datasets_fewshot.own.table_paths import place_paths
from datasets_fewshot.splits.validation import NAMES_SHOWN, SplitError

Answer = TypeVar("Answer")  # a class, or labels


@dataclass(frozen=True)
class Listed(Generic[Answer]):
    """A line of a table: an image as it is written there, with what it shows."""

    line: int  # from 1
    path: str
    answer: Answer
    written_part: str  # in lower case; empty if the line names none

    @property
    def part(self) -> Part | None:
        """The part; None if the line names none."""
        return PART_NAMES.get(self.written_part)


@dataclass(frozen=True)
class There(Generic[Answer]):
    """The lines of a table by whether their images are there."""

    files: dict[str, Listed[Answer]]  # posix path below the table's folder -> the first line with this image
    missing: tuple[Listed[Answer], ...]
    notes: tuple[str, ...]


def first_cell(row: Row, columns: Sequence[str]) -> str:
    """The cell of the first of these columns that the row has; empty if it has none."""
    return next((row[column] for column in columns if column in row), "")


def written_part(row: Row, columns: Columns, where: str) -> str:
    """The part that a row names, in lower case.

    Raises:
        SplitError: names the place, `where`, if there is no such part.
    """
    part = first_cell(row, columns.part).lower()
    if part and part not in PART_NAMES and part != UNASSIGNED:
        raise SplitError(f"{where}: the part is {first_cell(row, columns.part)!r}; use train, val or test")
    return part


def look_for(
    table: Path, listed: Sequence[Listed[Answer]], check: Callable[[Listed[Answer], Listed[Answer]], None]
) -> There[Answer]:
    """Look for the listed images below the table's folder.

    Args:
        check: refuses a line that repeats an image of an earlier one, which comes first, if it says something else.

    Raises:
        SplitError: if no image is there.
    """
    placed = place_paths(table.parent, dict.fromkeys(row.path for row in listed))
    missing = tuple(row for row in listed if row.path not in placed.files)
    if len(missing) == len(listed):
        first = missing[0]
        raise SplitError(
            f"{table}: none of its {len(listed)} images is there; line {first.line}: the path {first.path!r} is no "
            f"file below {str(table.parent.resolve())!r}; put the table above its images, or write paths relative to "
            "its folder"
        )
    files: dict[str, Listed[Answer]] = {}
    repeated = []
    for row in listed:
        if row.path in placed.files:
            first = files.setdefault(placed.files[row.path], row)
            if first is not row:
                check(first, row)
                repeated.append((first, row))
    return There(files, missing, (*placed.notes, *_notes(table, listed, missing, repeated)))


def _notes(
    table: Path,
    listed: Sequence[Listed[Answer]],
    missing: Sequence[Listed[Answer]],
    repeated: Sequence[tuple[Listed[Answer], Listed[Answer]]],
) -> Iterator[str]:
    if missing:
        first = missing[0]
        yield (
            f"{len(missing)} of {len(listed)} images of {table.name} are not there and were left out, the first on "
            f"line {first.line}: {first.path!r}"
        )
    if repeated:
        lines = ", ".join(f"{row.line} (as {first.line})" for first, row in repeated[:NAMES_SHOWN])
        yield f"{len(repeated)} lines of {table.name} repeat an image and were left out: {lines}"
