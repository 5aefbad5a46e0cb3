"""Which columns of a table hold the images, their classes and their parts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets_fewshot.images.read import IMAGE_SUFFIXES, is_regular
from datasets_fewshot.own.found import PART_NAMES
from datasets_fewshot.splits.validation import SplitError

PATH_COLUMNS = (
    "path", "file_path", "filepath", "image_path", "imagepath", "img_path", "file", "file_name", "filename",
    "image_file", "image_filename", "image_name", "img_name", "image", "img", "image_id", "imageid", "img_id", "id",
    "uri", "image_uri", "gcs_uri", "image_gcs_uri", "url", "image_url",
)  # fmt: skip
CLASS_COLUMNS = (
    "class", "classname", "class_name", "label", "labels", "label_name", "category", "category_name", "choice",
    "display_name", "target", "class_id", "label_id", "category_id", "class_index", "class_idx", "label_idx",
)  # fmt: skip
PART_COLUMNS = ("split", "part", "set", "subset", "partition", "ml_use")
UNASSIGNED = "unassigned"  # what Google's tools write where no part was chosen
ROWS_LOOKED_AT = 50
ONE_HOT = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}

Row = dict[str, str]  # column, in lower case and with "_" for spaces -> value


@dataclass(frozen=True)
class Columns:
    """The columns that are read; several take each other's place where rows of JSON lack some of them."""

    path: tuple[str, ...]
    label: tuple[str, ...]
    part: tuple[str, ...]
    one_hot: tuple[str, ...] = ()  # class names as written, where every class has a column, `label`, of 0 and 1
    notes: tuple[str, ...] = ()


def column_key(name: str) -> str:
    """A column's name as it is looked up: "Image Path" and "image-path" are one."""
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def looks_like_image(cell: str) -> bool:
    """Whether a cell ends like the name of an image, or of one on the web with a query behind it."""
    return Path(cell.split("?", 1)[0]).suffix.lower() in IMAGE_SUFFIXES


def choose_columns(
    names: Sequence[str], rows: Sequence[Row], where: str, path_column: str | None, label_column: str | None
) -> Columns:
    """Find the columns of a table with a heading.

    Args:
        names: the columns as they are written.
        where: the table, for messages.
        path_column: the column of images, as the user names it; None looks for it. `label_column` is alike.

    Raises:
        SplitError: if a column is missing; the message names those that were found and the option that names one.
    """
    known = {column_key(name): name for name in names}
    notes: list[str] = []
    path = image_columns(known, rows, where, path_column)
    part = tuple(name for name in PART_COLUMNS if name in known and name not in path)
    if label_column:
        return Columns(path, (named_column(label_column, known, where, "--label-column"),), part)
    label = [name for name in CLASS_COLUMNS if name in known and name not in path]
    if not label:
        rest = tuple(name for name in known if name not in (*path, *part))
        if len(rest) > 1 and all(row.get(name, "0").lower() in ONE_HOT for row in rows for name in rest):
            shown = ", ".join(known[name] for name in rest[:5]) + (", ..." if len(rest) > 5 else "")
            note = f"each of the columns {shown} is a class, and 1 marks its images"
            return Columns(path, rest, part, tuple(known[name].strip() for name in rest), (note,))
        others = [known[name] for name in rest] or ["breed"]
        raise SplitError(
            f"{where} has the columns {_listed(names)}, and none of them is called {CLASS_COLUMNS[0]!r}, 'label' or "
            f"'category'; name the column of classes, such as --label-column {_quoted(others[0])}"
        )
    together = any(sum(name in row for name in label) > 1 for row in rows[:ROWS_LOOKED_AT])
    if together:
        label.sort(key=lambda name: _are_numbers(rows, name))  # CLIP reads names; numbers say nothing to it
        others = [known[name] for name in label[1:]]
        notes.append(f"classes are read from the column {known[label[0]]!r}, not from {_listed(others)}")
        label = label[:1]
    return Columns(path, tuple(label), part, notes=tuple(notes))


def choose_bare_columns(
    rows: Sequence[Row], root: Path, where: str, path_column: str | None, label_column: str | None
) -> Columns:
    """Find the columns of a table without a heading, which are called "1", "2" and so on.

    Raises:
        SplitError: if several columns may hold the class.
    """
    known = {name: name for name in rows[0]}
    if path_column:
        path = named_column(path_column, known, where, "--path-column")
    else:
        path = next(name for name, cell in rows[0].items() if is_image_cell(cell, root))
    part = [name for name in known if name != path and _are_parts(rows, name)]
    if label_column:
        return Columns((path,), (named_column(label_column, known, where, "--label-column"),), tuple(part))
    rest = [name for name in known if name not in (path, *part) and any(row.get(name) for row in rows)]
    if len(rest) == 1:
        return Columns((path,), (rest[0],), tuple(part))
    if not rest:
        raise SplitError(f"{where} has no column of classes beside its images; add one, and a heading: path,class")
    raise SplitError(
        f"{where} has no heading, and the class may stand in the columns {', '.join(rest)}; add a heading such as "
        f"path,class, or name the column by its number, such as --label-column {rest[0]}"
    )


def is_image_cell(cell: str, root: Path) -> bool:
    """Whether a cell is an image rather than a heading."""
    return looks_like_image(cell) or (bool(cell) and is_regular(root / cell))


def image_columns(known: dict[str, str], rows: Sequence[Row], where: str, asked: str | None) -> tuple[str, ...]:
    """The columns of images: as the user names it, or as they are recognised.

    Raises:
        SplitError: if there is none.
    """
    return (named_column(asked, known, where, "--path-column"),) if asked else _path_columns(known, rows, where)


def _path_columns(known: dict[str, str], rows: Sequence[Row], where: str) -> tuple[str, ...]:
    called = [name for name in PATH_COLUMNS if name in known]
    sample = rows[:ROWS_LOOKED_AT]
    together = any(sum(name in row for name in called) > 1 for row in sample)
    fitting = [name for name in (called if called else known) if _all_look_like_images(sample, name)]
    if called and not together:
        return tuple(called)
    if called:
        return ((*fitting, *called)[0],)
    if len(fitting) == 1:
        return (fitting[0],)
    example = known[fitting[0]] if fitting else next(iter(known.values()))
    raise SplitError(
        f"{where} has the columns {_listed(known.values())}, and none of them is called 'path', 'file_name' or "
        f"'image'; name the column of images, such as --path-column {_quoted(example)}"
    )


def _all_look_like_images(rows: Sequence[Row], name: str) -> bool:
    cells = [row[name] for row in rows if row.get(name)]
    return bool(cells) and all(looks_like_image(cell) for cell in cells)


def _are_numbers(rows: Sequence[Row], name: str) -> bool:
    cells = [row[name] for row in rows if row.get(name)]
    return not cells or all(_is_number(cell) for cell in cells)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _are_parts(rows: Sequence[Row], name: str) -> bool:
    cells = [row[name].lower() for row in rows if row.get(name)]
    return bool(cells) and all(cell in PART_NAMES or cell == UNASSIGNED for cell in cells)


def named_column(column: str, known: dict[str, str], where: str, option: str) -> str:
    if column_key(column) not in known:
        raise SplitError(f"{option} is {column!r}, but {where} has the columns {_listed(known.values())}")
    return column_key(column)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)


def _quoted(name: str) -> str:
    return f'"{name}"' if " " in name else name
