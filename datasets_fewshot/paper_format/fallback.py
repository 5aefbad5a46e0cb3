"""Build a split by the papers' rule from folders and annotation files, for use without the papers' split file.

The rule is that of CoOp's released code. From official lists (annotation files) it gives the papers' own split, list by
list. From folders it does not: the papers' images depended on the order in which a file system lists a folder. Here
names are sorted, so that everyone who builds a fallback split gets the same one.
"""

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from adaptkit.regular_file import read_bytes, read_text, shortened
from datasets_fewshot.dataset import Item, Split
from datasets_fewshot.images.read import IMAGE_SUFFIXES
from datasets_fewshot.splits.split_files import group_by_label
from datasets_fewshot.splits.validation import SplitError

Row = TypeVar("Row")

FALLBACK_SEED = 1
TRAIN_SHARE, VAL_SHARE = 0.5, 0.2


def split_per_class(items: Iterable[Item], rng: random.Random) -> Split:
    """Shuffle each class, classes in order of first appearance, and cut it 50 / 20 / 30 into train, val and test."""
    lists: tuple[list[Item], list[Item], list[Item]] = ([], [], [])
    for group in group_by_label(items).values():
        rng.shuffle(group)
        n_train, n_val = round(len(group) * TRAIN_SHARE), round(len(group) * VAL_SHARE)
        lists[0].extend(group[:n_train])
        lists[1].extend(group[n_train : n_train + n_val])
        lists[2].extend(group[n_train + n_val :])
    return Split(*map(tuple, lists))


def hold_out_val(trainval: Iterable[Item], test: Iterable[Item], rng: random.Random) -> Split:
    """Shuffle each class of trainval and move its first 20 % into val; test stays the official list."""
    train: list[Item] = []
    val: list[Item] = []
    for group in group_by_label(trainval).values():
        rng.shuffle(group)
        n_val = round(len(group) * VAL_SHARE)
        val += group[:n_val]
        train += group[n_val:]
    return Split(tuple(train), tuple(val), tuple(test))


def folder_items(
    image_root: Path, classname: Callable[[str], str] = str, ignored: Sequence[str] = ()
) -> tuple[Item, ...]:
    """List the images of class folders; labels follow the sorted folders, and image names are sorted.

    A folder without images is no class.

    Args:
        classname: function from folder name to class name.
        ignored: folders that are not classes.
    """
    folders = sorted(path.name for path in image_root.iterdir() if path.is_dir() and not path.name.startswith("."))
    names = {folder: _images_in(image_root / folder) for folder in folders if folder not in ignored}
    classes = [folder for folder in names if names[folder]]
    return tuple(
        Item(f"{folder}/{name}", label, classname(folder))
        for label, folder in enumerate(classes)
        for name in names[folder]
    )


def _images_in(folder: Path) -> list[str]:
    names = sorted(path.name for path in folder.iterdir())
    return [name for name in names if Path(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith(".")]


def read_mat(path: Path, key: str) -> np.ndarray:
    """Read one variable of a MATLAB file as a one-dimensional array.

    Raises:
        ImportError: if scipy is not installed.
        SplitError: if it is no MATLAB file, or has no such variable.
    """
    try:
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError
    except ImportError as error:
        raise ImportError(f"reading {path} needs scipy; run: pip install scipy") from error
    try:
        content = loadmat(io.BytesIO(read_bytes(path, "MATLAB file")), squeeze_me=True)
    # These are the errors of scipy's reader for files that are cut off, damaged or something else.
    except (
        MatReadError,
        ValueError,
        TypeError,
        LookupError,
        EOFError,
        OSError,
        NotImplementedError,
        MemoryError,
        struct.error,
        zlib.error,
    ) as error:
        raise SplitError(f"{path} is no MATLAB file that can be read ({error}); download it again") from error
    if key not in content:
        raise SplitError(f"{path} has no variable {key!r}; it has {sorted(k for k in content if k[0] != '_')}")
    return np.atleast_1d(content[key])


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that are not blank.

    Raises:
        FileError: if it is no text.
        SplitError: if it is a web page that was saved in its place.
    """
    text = read_text(path, "list")
    if text.lstrip()[:9].lower().startswith(("<!doctype", "<html", "<head", "<?xml")):
        raise SplitError(f"{path} is a web page, not the list; download the file itself again")
    return [line.strip() for line in text.splitlines() if line.strip()]


def counted_from_0(number: str) -> int:
    """A label that a file counts from 1, counted from 0.

    Raises:
        ValueError: if it is no whole number from 1.
    """
    if not number.isdecimal() or int(number) < 1:
        raise ValueError(f"{number!r} is no whole number from 1")
    return int(number) - 1


def read_rows(path: Path, parse: Callable[[str], Row], form: str) -> list[Row]:
    """The parsed lines of a text file that are not blank.

    Args:
        parse: function of a line; it may raise a ValueError, KeyError or IndexError where the line has another form.
        form: the form of a line, in words, for errors.

    Raises:
        SplitError: with the number of the first line that has another form, or if there is no line.
    """
    rows = []
    for number, line in enumerate(read_lines(path), start=1):
        try:
            rows.append(parse(line))
        except (ValueError, KeyError, IndexError) as error:
            raise SplitError(f"{path}: line {number} is {shortened(line)!r}; expected {form}") from error
    if not rows:
        raise SplitError(f"{path} has no line at all; download it again")
    return rows
