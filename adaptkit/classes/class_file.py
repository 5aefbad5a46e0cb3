"""Class names from a file: text with one name per line, or JSON.

    text    a name, or class<TAB>name, in every line; commas belong to the name
    JSON    a list of names, an object class -> name, or an object name -> list of sentences

Of class<TAB>name the name is what prompts and answers say; the order is that of the file.
"""

import re
from pathlib import Path

from adaptkit.classes.class_set import ClassSet
from adaptkit.regular_file import parse_json, read_text, user_path

NUMBERED = re.compile(r"(\d+)[ \t,;:.)]+\S")
WHAT = "file of class names"
MAX_CLASS_BYTES = 64 * 2**20
SHOWN = 60  # characters of a line in an error


def read_classes(path: str | Path) -> ClassSet:
    """The classes of a file, with the default template, or with the sentences that the file gives them.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is neither of the forms, or a name is blank; the message names the line.
    """
    path = user_path(path, "file of class names")
    text = read_text(path, WHAT, MAX_CLASS_BYTES)
    bare = text.strip()
    if path.suffix.lower() == ".json" or bare[:1] + bare[-1:] in ("[]", "{}"):
        return _from_json(text, path)
    lines = [(number, line.strip(" \r")) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if not lines:
        raise ValueError(f"{path} has no class name; write one in every line")
    _refuse_numbers(lines, path)
    tabbed = [(number, line) for number, line in lines if "\t" in line]
    if tabbed and len(tabbed) < len(lines):
        number, line = next(entry for entry in lines if "\t" not in entry[1])
        raise ValueError(
            f"{path}, line {number}: {line[:SHOWN]!r} has no tab and line {tabbed[0][0]} has one; write class<TAB>name "
            "in every line, or names alone"
        )
    if tabbed:
        return ClassSet(tuple(_name(number, line, path) for number, line in lines))
    return ClassSet(tuple(line for _, line in lines))


def _name(number: int, line: str, path: Path) -> str:
    given, name = (part.strip() for part in line.split("\t", 1))
    if not given or not name or "\t" in name:
        raise ValueError(f"{path}, line {number}: {line[:SHOWN]!r}; expected class<TAB>name")
    return name


def _refuse_numbers(lines: list[tuple[int, str]], path: Path) -> None:
    """Refuse names that are counted, as "0 cat", "1 dog" are: the numbers would be words of the prompts."""
    found = [NUMBERED.match(line) for _, line in lines if "\t" not in line]
    numbers = [int(match[1]) for match in found if match]
    if len(numbers) == len(lines) > 1 and numbers == list(range(numbers[0], numbers[0] + len(numbers))):
        raise ValueError(
            f"{path}: every line begins with its number, as {lines[0][1][:SHOWN]!r}, which a prompt would say as a "
            "word; write names alone, or number<TAB>name"
        )


def _from_json(text: str, path: Path) -> ClassSet:
    content = parse_json(text, WHAT, path)
    if isinstance(content, list) and all(isinstance(name, str) for name in content):
        return ClassSet(tuple(content))
    if isinstance(content, dict) and all(isinstance(name, str) for name in content.values()):
        return ClassSet(tuple(content.values()))
    if isinstance(content, dict) and all(isinstance(own, list) for own in content.values()):
        return ClassSet(tuple(content), sentences=tuple(tuple(own) for own in content.values()))
    raise ValueError(
        f"{path}: expected a JSON list of names, an object class: name, or an object name: [sentences]; it is "
        f"{'a list with something else than texts' if isinstance(content, list) else f'a {type(content).__name__}'}"
    )
