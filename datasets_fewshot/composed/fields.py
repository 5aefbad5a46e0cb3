"""Fields of annotation files, read with their types."""

from pathlib import Path

from adaptkit.regular_file import read_json
from datasets_fewshot.splits.validation import SplitError


def read_list(path: Path, what: str) -> list[dict[str, object]]:
    """A JSON list of objects.

    Raises:
        FileNotFoundError, FileError: if it cannot be read.
        SplitError: if it is something else.
    """
    content = read_json(path, what)
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise SplitError(f"{path} is no {what}: expected a JSON list of objects; check which file it is")
    return content


def text_of(entry: dict[str, object], field: str, where: str) -> str:
    """A text that is not blank.

    Raises:
        SplitError: names the entry and the field.
    """
    value = entry.get(field)
    if not isinstance(value, str) or not value.strip():
        raise SplitError(f"{where}: {field!r} is {str(value)[:80]!r}; expected a text that is not empty")
    return " ".join(value.split())


def name_of(entry: dict[str, object], field: str, where: str) -> str:
    """One name of a file, letter by letter.

    Raises:
        SplitError: names the entry and the field.
    """
    text_of(entry, field, where)
    return str(entry[field])


def texts_of(entry: dict[str, object], field: str, where: str) -> tuple[str, ...]:
    """A list of texts, or one text, each kept once.

    Raises:
        SplitError: names the entry and the field.
    """
    value = entry.get(field)
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not listed or not all(isinstance(text, str) and text.strip() for text in listed):
        raise SplitError(f"{where}: {field!r} is {str(value)[:80]!r}; expected a text, or a list of one or more")
    return tuple(dict.fromkeys(listed))


def number_of(entry: dict[str, object], field: str, where: str) -> int:
    """A whole number, 0 or more.

    Raises:
        SplitError: names the entry and the field.
    """
    value = entry.get(field)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise SplitError(f"{where}: {field!r} is {str(value)[:80]!r}; expected a whole number, 0 or more")
    return value


def inside(name: str, where: str) -> str:
    """A path below the folder of images, with single slashes and no ".".

    Raises:
        SplitError: if it leads elsewhere.
    """
    leads_out = name.startswith(("/", "~", "\\")) or ".." in name.replace("\\", "/").split("/")
    if leads_out or "\0" in name or "\n" in name:
        raise SplitError(f"{where}: the path {name[:80]!r} is not one below the folder of images; write it so")
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def first_folder(root: Path, *names: str) -> Path:
    """The first of some folders below the root that is there; the first of all where none is.

    Files that are then looked for in it are missed by name.
    """
    return next((root / name for name in names if (root / name).is_dir()), root / names[0])
