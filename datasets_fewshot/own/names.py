"""Read names for the classes of own data.

Names come in four forms: a sequence in label order of classes; a mapping class -> name; a JSON file with either; a
text file with one line per class, "class<TAB>name" (or with a comma, a colon or a space between them), or only names in
label order of classes.

Label order is by number where all classes are whole numbers, else by letters. A plain list is refused where people may
have counted on another order: by letters, c10 stands before c2.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from adaptkit.regular_file import parse_json, user_path
from datasets_fewshot.own.table_text import read_lines

DEFAULT_FILES = ("classnames.json", "classnames.txt")
FORMS = "write lines of class<TAB>name, or a mapping of class to name"
AFTER_CLASS = re.compile(r"\s*[\t,;:=]\s*|\s+")  # between a class and its name
# A line that begins like a class of some other data: "0 cat", "c1,cat", "c1: cat".
OTHER_CLASS = re.compile(r"(\d+)\s*[\s.):]\s*\S|([^\s,;:=]*\d[^\s,;:=]*)\s*[,;:=]\s*\S|([^\s,;:=]+)[,;:=]\S")

Names = str | Path | Sequence[str] | Mapping[str, str] | None
Pair = tuple[str, str]


def read_names(names: Names, home: Path, classes: Sequence[str], every: bool = False) -> dict[str, str]:
    """Find a name for every class: class -> name.

    Args:
        names: one of the four forms; None looks for classnames.json and classnames.txt in `home`; without them, a
            class keeps its own name.
        every: whether a mapping has to know every class.

    Raises:
        ValueError: if a sequence has another length than there are classes, a mapping knows none of them, or lacks one
            where it has to know all, or a file is of none of the forms.
        FileNotFoundError: if a file is named that does not exist.
    """
    if names is None:
        names = next((home / file for file in DEFAULT_FILES if (home / file).is_file()), {})
    where = "classnames"
    if isinstance(names, str | Path):
        where = str(names)
        names = _read_file(user_path(names, "file of class names"), classes)
    if not isinstance(names, Mapping):
        names = _in_order(list(names), where, classes)
    for name, written in names.items():
        if not isinstance(name, str) or not isinstance(written, str) or not written.strip():
            raise ValueError(f"{where}: the class {name!r} has the name {written!r}; give it a name in words")
    if names and not set(names) & set(classes):
        raise ValueError(
            f"{where}: names {', '.join(list(names)[:5])} but the data have the classes {', '.join(classes[:5])}; "
            f"{FORMS}"
        )
    if every and (unknown := [name for name in classes if name not in names]):
        raise ValueError(
            f"{where}: the data have {', '.join(repr(name) for name in unknown[:5])}, which is none of the "
            f"{len(names)} classes that are given; correct the label, or name it there"
        )
    return {name: names.get(name, name) for name in classes}


def notes_on_names(names: Names, home: Path, classes: Sequence[str], named: Mapping[str, str]) -> list[str]:
    """A note on classes that keep their own name although names are given: a folder may have been renamed since."""
    given = names is not None or any((home / file).is_file() for file in DEFAULT_FILES)
    if not given or isinstance(names, Mapping):
        return []
    own = [name for name in classes if named[name] == name]
    if not own or len(own) == len(classes):
        return []
    return [f"the names that are given change nothing of {len(own)} classes, such as {own[0]!r}, which is its own name"]


def _in_order(names: list[str], where: str, classes: Sequence[str]) -> dict[str, str]:
    """Names in label order of classes; where classes are numbers from 0, a number is the place in the list."""
    numbers = [int(name) for name in classes if name.isdecimal()]
    if len(numbers) == len(classes) and 0 in numbers and len(names) > len(classes) and max(numbers) < len(names):
        return {name: names[int(name)] for name in classes}
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
            f"{classes[first]!r} (by letters) or {counted[first]!r} (by number); {FORMS}"
        )
    return dict(zip(classes, names, strict=True))


def _with_numbers(name: str) -> list[tuple[int, str]]:
    """A key that sorts names as people count: c2 before c10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _read_file(path: Path, classes: Sequence[str]) -> Sequence[str] | dict[str, str]:
    text = read_lines(path, "file of class names")
    if path.suffix.lower() == ".json":
        content = parse_json(text, "file of class names", path)
        if isinstance(content, dict):
            return content
        if isinstance(content, list) and all(isinstance(name, str) for name in content):
            return content
        raise ValueError(f"{path} holds a JSON {type(content).__name__}; expected a list of names or class: name")
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    pairs = [_pair(line, classes) for _, line in lines]
    if lines and all(pairs):
        return _mapping([pair for pair in pairs if pair], [number for number, _ in lines], path)
    if any(pairs):
        number, line = lines[pairs.index(None)]
        raise ValueError(
            f"{path}: line {number} is {line!r}, which names no class of the data as other lines do; the classes are "
            f"{', '.join(classes[:5])}: {FORMS}"
        )
    if lines and all(OTHER_CLASS.match(line) for _, line in lines):
        number, line = lines[0]
        raise ValueError(
            f"{path}: line {number} is {line!r}, which looks like a class and its name, but the data have the classes "
            f"{', '.join(classes[:5])}; {FORMS}"
        )
    return [line for _, line in lines]


def _mapping(pairs: Sequence[Pair], numbers: Sequence[int], path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for (name, written), number in zip(pairs, numbers, strict=True):
        if found.setdefault(name, written) != written:
            raise ValueError(
                f"{path}: line {number} calls the class {name!r} {written!r}, and a line before calls it "
                f"{found[name]!r}; keep one of them"
            )
    return found


def _pair(line: str, classes: Sequence[str]) -> Pair | None:
    """Split "n01440764 tench" into a known class and its name; the longest class that fits is taken."""
    if "\t" in line:
        name, _, written = line.partition("\t")
        return name.strip(), written.strip()
    fitting = [name for name in classes if line.startswith(name) and AFTER_CLASS.match(line, len(name))]
    longest = max(fitting, key=len, default=None)
    if longest is None:
        return None
    between = AFTER_CLASS.match(line, len(longest))
    return (longest, line[between.end() :].strip()) if between else None
