"""Few-shot lists of JSON lines: one drawn training image a line, as 2SFS's authors publish theirs.

A line is an object with a path, a label and a class name, under any of the names below, or a list of the three. Paths
of such lists begin at the folder of all data sets, at a data set's folder or at its images; `placed` finds out which.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from adaptkit.regular_file import FileError, read_text
from datasets_fewshot.dataset import Item, Split
from datasets_fewshot.splits.validation import SplitError, UnreadableSplitError, parse_items

SUFFIX = ".jsonl"
NAMES: Mapping[str, tuple[str, ...]] = {
    "path": ("impath", "path", "image", "image_path", "filename", "file"),
    "label": ("label", "class_id", "target"),
    "class name": ("classname", "class_name", "class", "name"),
}


def is_lines(path: str | Path) -> bool:
    """Whether a split file is a list of JSON lines, by its name."""
    return str(path).lower().endswith(SUFFIX)


def read_lines(path: str | Path) -> Split:
    """The listed images as they stand in the file, to learn from; there are no others.

    Raises:
        FileNotFoundError: if there is no such file.
        UnreadableSplitError: if a line is no JSON.
        SplitError: names the line that lacks a part or has one of another type.
    """
    try:
        text = read_text(path, "few-shot list")
    except FileError as error:
        raise UnreadableSplitError(str(error)) from error
    rows = [_row(line, f"{path}: line {number}") for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    return Split(tuple(parse_items(rows, str(path))), (), ())


def _row(line: str, where: str) -> list[object]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UnreadableSplitError(
            f"{where} is no JSON; expected one object with path, label and class name"
        ) from error
    if isinstance(entry, list):
        return entry
    if not isinstance(entry, dict):
        raise SplitError(f"{where} is a {type(entry).__name__}; expected an object with path, label and class name")
    row: list[object] = []
    for part, names in NAMES.items():
        found = [name for name in names if name in entry]
        if not found:
            raise SplitError(f"{where} has no {part}; expected one of {', '.join(names)} beside {sorted(entry)}")
        value = entry[found[0]]
        row.append(value.lstrip("/") if part == "path" and isinstance(value, str) else value)
    return row


def placed(listed: Split, known: Sequence[Item], where: str) -> Split:
    """The listed images under the paths that the data set's own list has for them, and its class names.

    Args:
        known: the data set's own training images.

    Raises:
        SplitError: if an image is none of them, or has another label there.
    """
    own = {str(PurePosixPath(item.path)): item for item in known}
    found = []
    for index, item in enumerate(listed.train):
        parts = PurePosixPath(item.path.replace("\\", "/")).parts
        endings = ("/".join(parts[start:]) for start in range(len(parts)))
        match = next((own[ending] for ending in endings if ending in own), None)
        if match is None:
            raise SplitError(
                f"{where}: image {index + 1}, {item.path!r}, is none of the data set's {len(own)} training images; "
                "take the list of this data set"
            )
        if match.label != item.label:
            raise SplitError(
                f"{where}: image {index + 1}, {item.path!r}, has label {item.label}, and the data set has "
                f"{match.label} ({match.classname!r}) for it; take the list of this data set"
            )
        found.append(match)
    return Split(tuple(found), (), ())
