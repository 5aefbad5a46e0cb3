"""Where the images of a table lie on this machine.

Tools write paths as they were on the machine that labelled: "C:\\photos\\cat\\1.png", "/data/photos/cat/1.png",
"gs://bucket/cat/1.png", or only "1" beside a folder of images. An image is looked for below the table's folder, first
by its whole path and then by the longest end of it that leads to a file.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from datasets_fewshot.images.archives import ARCHIVE_SUFFIXES, list_members, split_archive
from datasets_fewshot.images.read import IMAGE_SUFFIXES, is_regular
from datasets_fewshot.own.image_tree import walk_images
from datasets_fewshot.splits.validation import SplitError

SAMPLES = 200  # unfound paths that are compared with the files that are there
LEAST_SHARE = 0.05  # of them that a change of folders has to explain
DRIVE = re.compile(r"^[A-Za-z]:/")
SCHEME = re.compile(r"^([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
LOCAL_FILES = "/data/local-files/?d="  # Label Studio's address of a file on its own machine

Parts = tuple[str, ...]


@dataclass(frozen=True)
class Placed:
    """The files of listed paths, and notes on how they were found."""

    files: dict[str, str]  # path as listed -> posix path relative to the root; those that were not found are left out
    notes: tuple[str, ...]


def check_path(written: str, where: str) -> None:
    """Refuse a path that no file can have, or that climbs out of its folder.

    Raises:
        SplitError: names the place, `where`.
    """
    if "\0" in written or "\n" in written or "\r" in written:
        raise SplitError(f"{where}: the path {written[:80]!r} holds a line break or a zero; close the quotes before it")
    if ".." in written.replace("\\", "/").split("/"):
        raise SplitError(f"{where}: the path {written!r} climbs out with '..'; keep images inside the image folder")


def place_paths(root: Path, listed: Iterable[str]) -> Placed:
    """Find the files that a table lists below `root`; paths differ in capitals, folders or endings at most."""
    members = _Members()
    files: dict[str, str] = {}
    unfound: dict[str, Parts] = {}
    home = PurePosixPath(root.resolve().as_posix())
    for written in listed:
        plain = written if members.has_file(root, written) else _plain(written)
        place = PurePosixPath(plain)
        if place.is_absolute() and place.is_relative_to(home):
            place = place.relative_to(home)
        if place.parts and not place.is_absolute() and members.has_file(root, place.as_posix()):
            files[written] = place.as_posix()
        else:
            unfound[written] = tuple(part for part in place.parts if part != "/")
    if not unfound:
        return Placed(files, ())
    moved, notes = _find_elsewhere(root, unfound)
    return Placed(files | moved, notes)


def _plain(written: str) -> str:
    """A path with slashes, without drive, scheme and query; absolute where it was."""
    path = written.strip()
    if LOCAL_FILES in path:
        return unquote(path.split(LOCAL_FILES, 1)[1])
    if scheme := SCHEME.match(path):
        path = "/" + unquote(path[scheme.end() :].split("?", 1)[0]).lstrip("/")
    path = path.replace("\\", "/")
    return DRIVE.sub("/", path)


class _Members:
    """Whether files exist, plain or in archives; an archive's table of members is read once."""

    def __init__(self) -> None:
        self.known: dict[str, frozenset[str]] = {}

    def has_file(self, root: Path, path: str) -> bool:
        """Whether there is a regular file; an absolute path is never one below the root."""
        if not path or path.startswith("/"):
            return False
        place = root / path
        if is_regular(place):
            return True
        lower = path.lower()
        archive, member = split_archive(place) if any(f"{end}/" in lower for end in ARCHIVE_SUFFIXES) else (None, "")
        if archive is None:
            return False
        if archive not in self.known:
            self.known[archive] = frozenset(list_members(archive))
        return member in self.known[archive]


def _find_elsewhere(root: Path, unfound: Mapping[str, Parts]) -> tuple[dict[str, str], tuple[str, ...]]:
    there = {_key(path): path for path in (place.relative_to(root).as_posix() for place in walk_images(root))}
    changes = _folder_changes([parts for parts in unfound.values() if parts], list(there.values()))
    moved: dict[str, str] = {}
    counts: Counter[tuple[Parts, Parts]] = Counter()
    for written, parts in unfound.items():
        for listed, actual in changes:
            if _fold(parts[: len(listed)]) != listed or len(parts) <= len(listed):
                continue
            wanted = "/".join((*actual, *parts[len(listed) :]))
            found = next((there[key] for key in _keys(wanted) if key in there), None)
            if found is not None:
                moved[written] = found
                counts[listed, actual] += 1
                break
    return moved, tuple(_describe(change, count, unfound) for change, count in counts.items())


def _folder_changes(unfound: Sequence[Parts], there: Sequence[str]) -> list[tuple[Parts, Parts]]:
    """Pairs (folders as listed, folders as they are) that explain where many files went, the most frequent first.

    Only a pair in which one side is empty, or which leaves a folder and a name in common, is taken: others would
    take "dog/1.png" for "cat/1.png".
    """
    by_name: dict[str, list[Parts]] = defaultdict(list)
    for path in there:
        by_name[_key(Path(path).stem)].append(PurePosixPath(path).parts)
    sample = unfound[:: max(1, len(unfound) // SAMPLES)]
    counts: Counter[tuple[Parts, Parts]] = Counter()
    for parts in sample:
        pairs = [_change(parts, actual) for actual in by_name.get(_key(_stem(parts[-1])), [])]
        longest = max((common for _, _, common in pairs), default=0)
        for listed, actual, common in pairs:
            if common == longest and common and (common > 1 or not listed or not actual):
                counts[listed, actual] += 1
    least = max(1, round(len(sample) * LEAST_SHARE))
    return [pair for pair, count in counts.most_common() if count >= least]


def _change(listed: Parts, actual: Parts) -> tuple[Parts, Parts, int]:
    """The folders that differ in two paths of one file, and how many parts they have in common at the end."""
    ours, theirs = _fold((*listed[:-1], _stem(listed[-1]))), _fold((*actual[:-1], _stem(actual[-1])))
    common = 0
    while common < min(len(ours), len(theirs)) and ours[-1 - common] == theirs[-1 - common]:
        common += 1
    return ours[: len(ours) - common], actual[: len(actual) - common], common


def _stem(name: str) -> str:
    return name[: -len(Path(name).suffix)] if Path(name).suffix.lower() in IMAGE_SUFFIXES else name


def _keys(path: str) -> list[str]:
    """The keys of a file's possible names: as it is written, and with an ending if it has none."""
    key = _key(path)
    return (
        [key] if Path(path).suffix.lower() in IMAGE_SUFFIXES else [key, *(key + end for end in sorted(IMAGE_SUFFIXES))]
    )


def _fold(parts: Parts) -> Parts:
    return tuple(_key(part) for part in parts)


def _key(text: str) -> str:
    """What two systems agree on in a file's name: capitals and the composition of letters may differ."""
    return unicodedata.normalize("NFC", text).casefold()


def _describe(change: tuple[Parts, Parts], count: int, unfound: Mapping[str, Parts]) -> str:
    listed, actual = change
    written = next(
        (parts[: len(listed)] for parts in unfound.values() if _fold(parts[: len(listed)]) == listed), listed
    )
    if not listed and not actual:
        return f"{count} images were found under names that differ in capitals or endings from the table's"
    before, here = "/".join(written), "/".join(actual)
    if not actual:
        return f"{count} paths begin with {before!r}, as on another machine; their images were found beside the table"
    if not listed:
        return f"{count} images were found below {here!r}, which their paths in the table leave out"
    return f"{count} images were found below {here!r}, where their paths in the table have {before!r}"
