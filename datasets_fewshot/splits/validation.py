"""Checks that a split must pass before training."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from datasets_fewshot.dataset import Item, Split
from datasets_fewshot.images.archives import archive_at, list_members, split_archive

NAMES_SHOWN = 5
MAX_LABEL = 10_000_000  # No data set has as many classes.


class SplitError(ValueError):
    """A split breaks a rule; the message names the file, the place in it and the rule."""


class UnreadableSplitError(SplitError):
    """A split file that is no JSON, so that another copy of it is needed."""


def parse_items(rows: object, where: str) -> Iterator[Item]:
    """Turn JSON rows [path, label, classname] into items, each checked by itself.

    Args:
        where: name of the list in error messages, such as "split.json: train".

    Raises:
        SplitError: at the first row with a wrong shape or type, or with a path outside the image folder.
    """
    if not isinstance(rows, list):
        raise SplitError(f"{where} is a {type(rows).__name__}; expected a list of [path, label, classname]")
    for index, row in enumerate(rows):
        place = f"{where}[{index}]"
        if not isinstance(row, list | tuple) or len(row) != 3:
            raise SplitError(f"{place} is {row!r}; expected [path, label, classname]")
        path, label, classname = row
        if not isinstance(path, str):
            raise SplitError(f"{place}: the path is {path!r}; expected a string")
        if not isinstance(label, int) or isinstance(label, bool) or not 0 <= label <= MAX_LABEL:
            shown = label if not isinstance(label, int) or label.bit_length() < 64 else "a huge number"
            raise SplitError(f"{place}: the label is {shown!r}; expected a whole number from 0 to {MAX_LABEL}")
        if not isinstance(classname, str) or not classname.strip():
            raise SplitError(f"{place}: the class name is {classname!r}; expected a word or words")
        yield Item(check_relative(path, place), label, classname)


def check_relative(path: str, place: str) -> str:
    """Return the path, after checking that it stays below its folder.

    Raises:
        SplitError: if the path is empty, absolute (on any system), or climbs with "..".
    """
    if not path or path.startswith("/") or PureWindowsPath(path).drive:
        raise SplitError(f"{place}: the path {path!r} is empty or absolute; write it relative to the image folder")
    if ".." in path.replace("\\", "/").split("/"):
        raise SplitError(f"{place}: the path {path!r} climbs out with '..'; keep images inside the image folder")
    return path


def check_split(split: Split, where: str) -> None:
    """Check the rules between items: dense labels, one name per label, no image twice.

    Raises:
        SplitError: at the first broken rule.
    """
    names: dict[int, str] = {}
    places: dict[str, str] = {}
    for key, items in zip(("train", "val", "test"), split, strict=True):
        for index, item in enumerate(items):
            place = f"{key}[{index}]"
            name = names.setdefault(item.label, item.classname)
            if name != item.classname:
                raise SplitError(
                    f"{where}: {place}: label {item.label} is called {item.classname!r} here and {name!r} before; "
                    "give each label one name"
                )
            path = str(PurePosixPath(item.path))
            if path in places:
                raise SplitError(f"{where}: {place}: image {item.path!r} is also {places[path]}; list it once")
            places[path] = place
    if not names:
        raise SplitError(f"{where}: lists no image at all")
    gaps = max(names) + 1 - len(names)
    if gaps:
        first = next(label for label in range(len(names)) if label not in names)
        raise SplitError(
            f"{where}: labels run to {max(names)} but {gaps} in between have no image, the first {first}; "
            "number the classes from 0 without gaps"
        )


def missing_files(split: Split, image_root: Path) -> list[str]:
    """Paths of items that are not files below `image_root`, in list order. Reads each folder once, not each file."""
    known: dict[str, frozenset[str]] = {}
    missing = []
    for items in split:
        for item in items:
            folder, _, name = f"{image_root.as_posix()}/{item.path}".rpartition("/")
            if folder not in known:
                known[folder] = _names_in(folder)
            if name not in known[folder]:
                missing.append(item.path)
    return missing


def check_files(split: Split, image_root: Path, where: str) -> None:
    """Check that every image of the split exists.

    Raises:
        SplitError: with the number of missing files and the first five.
    """
    refuse_missing(missing_files(split, image_root), split, image_root, where)


def refuse_missing(missing: list[str], split: Split, image_root: Path, where: str) -> None:
    """Raise a SplitError with the number of the missing files and the first five, if there are any."""
    if missing:
        total = sum(len(items) for items in split)
        shown = ", ".join(repr(path) for path in missing[:NAMES_SHOWN])
        more = ", ..." if len(missing) > NAMES_SHOWN else ""
        raise SplitError(
            f"{where}: {len(missing)} of {total} images are not below {str(image_root)!r}: {shown}{more}; "
            "complete the download, or point --root at the folder that holds them"
        )


def _names_in(folder: str) -> frozenset[str]:
    """Names in a folder, or of the members directly below a folder of an archive."""
    archive = archive_at(folder)
    inside = ""
    if archive is None:
        archive, inside = split_archive(folder)
    if archive is None:
        try:
            with os.scandir(folder) as entries:
                return frozenset(entry.name for entry in entries)
        except OSError:
            return frozenset()
    prefix = f"{inside}/" if inside else ""
    members = [name[len(prefix) :] for name in list_members(archive) if name.startswith(prefix)]
    return frozenset(name for name in members if "/" not in name)
