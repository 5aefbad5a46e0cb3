"""Read one column of a table: its images, or its texts, without their classes."""

from dataclasses import dataclass
from pathlib import Path

from datasets_fewshot.images.read import is_regular
from datasets_fewshot.own.image_table import TableOptions, table_rows
from datasets_fewshot.own.table_columns import column_key, image_columns, named_column
from datasets_fewshot.own.table_paths import check_path, place_paths
from datasets_fewshot.splits.validation import SplitError


@dataclass(frozen=True)
class ListedImages:
    """Images of a table that are there, each once, and notes on what was left out."""

    paths: tuple[str, ...]  # posix, below the table's folder
    notes: tuple[str, ...]


def listed_images(path: Path, path_column: str | None = None, encoding: str | None = None) -> ListedImages:
    """The images of a .csv, .tsv or .jsonl table, in its order.

    Raises:
        SplitError: names the columns if none is known to hold images, or says that no image is there.
    """
    names, rows = table_rows(path, TableOptions(path_column, None, encoding))
    if not rows:
        raise SplitError(f"{path} lists no image")
    known = {column_key(name): name for name in (names if names is not None else rows[0][1])}
    columns = image_columns(known, [row for _, row in rows], str(path), path_column)
    written: dict[str, int] = {}
    for line, row in rows:
        cell = next((row[name] for name in columns if row.get(name)), "")
        if not cell:
            raise SplitError(f"{path}: line {line} has no path; fill it in or remove the line")
        check_path(cell, f"{path}: line {line}")
        written.setdefault(cell, line)
    placed = place_paths(path.parent, written)
    there = [place for place in placed.files.values() if is_regular(path.parent / place)]
    missing = [cell for cell in written if cell not in placed.files]
    if not there:
        first = next(iter(written))
        raise SplitError(
            f"{path}: none of its {len(written)} images is there, the first on line {written[first]}: {first!r}; put "
            "the table above its images, or write paths relative to its folder"
        )
    notes = list(placed.notes)
    if missing:
        notes.append(
            f"{len(missing)} of {len(written)} images of {path.name} are not there and were left out, the first on "
            f"line {written[missing[0]]}: {missing[0]!r}"
        )
    if packed := len(placed.files) - len(there):
        notes.append(f"{packed} images of {path.name} lie in archives and were left out; unpack them")
    return ListedImages(tuple(dict.fromkeys(there)), tuple(notes))


def listed_texts(path: Path, text_column: str, encoding: str | None = None) -> list[str]:
    """The texts of a column of a .csv, .tsv or .jsonl table, in its order; empty cells are left out.

    Raises:
        SplitError: names the columns if there is none of that name.
    """
    # Named as a column of classes, it tells a heading from a first line of cells.
    names, rows = table_rows(path, TableOptions(None, text_column, encoding))
    if not rows:
        raise SplitError(f"{path} lists no text")
    known = {column_key(name): name for name in (names if names is not None else rows[0][1])}
    column = named_column(text_column, known, str(path), "--text-column")
    return [row[column] for _, row in rows if row.get(column)]
