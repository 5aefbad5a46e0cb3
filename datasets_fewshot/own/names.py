"""Read names for the classes of own data.

Names come in four forms: a sequence in label order of classes; a mapping class -> name; a JSON file with either; a
text file with one line per class, "class<TAB>name" or "class name", or only names in label order of classes.

Label order is by number where all classes are whole numbers, else by letters. A plain list is refused where people may
have counted on another order: by letters, c10 stands before c2.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

DEFAULT_FILES = ("classnames.json", "classnames.txt")

Names = str | Path | Sequence[str] | Mapping[str, str] | None


def read_names(names: Names, home: Path, classes: Sequence[str]) -> dict[str, str]:
    """Find a name for every class: class -> name.

    Args:
        names: one of the four forms; None looks for classnames.json and classnames.txt in `home`; without them, a
            class keeps its own name.

    Raises:
        ValueError: if a sequence has another length than there are classes, or a mapping knows none of them.
        FileNotFoundError: if a file is named that does not exist.
    """
    if names is None:
        names = next((home / file for file in DEFAULT_FILES if (home / file).is_file()), {})
    where = "classnames"
    if isinstance(names, str | Path):
        where = str(names)
        names = _read_file(Path(names), classes)
    if not isinstance(names, Mapping):
        if len(names) != len(classes):
            raise ValueError(
                f"{where}: {len(names)} names for {len(classes)} classes; give one name each, in this order: "
                f"{', '.join(classes)}"
            )
        counted = sorted(classes, key=_with_numbers)
        if counted != list(classes):
            first = next(place for place, (one, other) in enumerate(zip(classes, counted, strict=True)) if one != other)
            raise ValueError(
                f"{where} is a list of names, and it is not certain whether name {first + 1} belongs to the class "
                f"{classes[first]!r} (by letters) or {counted[first]!r} (by number); write lines of class<TAB>name, or "
                "a mapping of class to name"
            )
        names = dict(zip(classes, names, strict=True))
    if names and not set(names) & set(classes):
        raise ValueError(
            f"{where}: names {', '.join(list(names)[:5])} but the data have the classes {', '.join(classes[:5])}"
        )
    return {name: names.get(name, name) for name in classes}


def _with_numbers(name: str) -> list[tuple[int, str]]:
    """A key that sorts names as people count: c2 before c10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _read_file(path: Path, classes: Sequence[str]) -> Sequence[str] | dict[str, str]:
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix.lower() == ".json":
        content = json.loads(text)
        if isinstance(content, dict):
            return {str(key): str(value) for key, value in content.items()}
        if isinstance(content, list):
            return [str(name) for name in content]
        raise ValueError(f"{path} holds a JSON {type(content).__name__}; expected a list of names or class: name")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    pairs = [_pair(line, classes) for line in lines]
    return {pair[0]: pair[1] for pair in pairs if pair} if all(pairs) else lines


def _pair(line: str, classes: Sequence[str]) -> tuple[str, str] | None:
    """Split "n01440764 tench" into a known class and its name; the longest class that fits is taken."""
    if "\t" in line:
        name, _, written = line.partition("\t")
        return name.strip(), written.strip()
    fitting = [name for name in classes if line.startswith(f"{name} ")]
    longest = max(fitting, key=len, default=None)
    return (longest, line[len(longest) :].strip()) if longest is not None else None
