"""Split files, the few-shot draw of the papers, base and new classes, and the hash that names a list of items.

The draw and the halving follow the code of CoOp (Zhou et al., arXiv:2109.01134) and CoCoOp (arXiv:2203.05557); both are
pure functions of (split, seed).
"""

import hashlib
import json
import os
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from adaptkit.regular_file import FileError, read_json
from datasets_fewshot.dataset import Item, Split
from datasets_fewshot.splits.validation import SplitError, UnreadableSplitError, check_split, parse_items

Half = Literal["base", "new", "all"]
SPLIT_FILE = "split file"  # what it is called in errors
MAX_VAL_SHOTS = 4  # the papers never draw more validation images than this from a class


def read_split(path: str | Path) -> Split:
    """Read a split file: {"train": [[path, label, classname], ...], "val": [...], "test": [...]}.

    Raises:
        FileNotFoundError: if there is no such file.
        UnreadableSplitError: if it is no file of JSON: a folder, a web page, cut off, or in another encoding.
        SplitError: names the file and the list and index where it breaks a rule: a missing key, a wrong type, labels
            with gaps, two names for one label, a path that leaves the image folder, or an image listed twice.
    """
    try:
        content = read_json(path, SPLIT_FILE)
    except FileError as error:
        raise UnreadableSplitError(str(error)) from error
    if not isinstance(content, dict):
        raise SplitError(f"{path}: holds a JSON {type(content).__name__}; expected an object with train, val and test")
    missing = [key for key in ("train", "val", "test") if key not in content]
    unknown = sorted(set(content) - {"train", "val", "test", "notes", "dataset"})
    if missing or unknown:
        raise SplitError(f"{path}: has keys {sorted(content)}; expected train, val and test")
    lists = [tuple(parse_items(content[key], f"{path}: {key}")) for key in ("train", "val", "test")]
    split = Split(*lists)
    check_split(split, str(path))
    return split


def read_notes(path: str | Path) -> tuple[str, ...]:
    """The notes stored by `write_split`; the papers' own files have none."""
    content = read_json(path, SPLIT_FILE)
    notes = content.get("notes", []) if isinstance(content, dict) else []
    return tuple(str(note) for note in notes)


def read_dataset_name(path: str | Path) -> str:
    """The data set that a split file says it is of; "" if it says nothing, as the papers' own files."""
    content = read_json(path, SPLIT_FILE)
    return str(content.get("dataset", "")) if isinstance(content, dict) else ""


def write_split(split: Split, path: str | Path, notes: Sequence[str] = (), dataset: str = "") -> None:
    """Write a split file that `read_split` reads back equal; the file is never half-written."""
    path = Path(path)
    content: dict[str, object] = {"dataset": dataset} if dataset else {}
    content |= {"notes": list(notes)} if notes else {}
    for key, items in zip(("train", "val", "test"), split, strict=True):
        content[key] = [[item.path, item.label, item.classname] for item in items]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    temporary.replace(path)


def draw_few_shot(split: Split, shots: int, seed: int) -> Split:
    """Draw K images per class for training and min(K, 4) for validation, as CoOp's code does; test is untouched.

    One generator, seeded once, walks train and then val; classes come in order of first appearance; a class with
    fewer than K images gives all of them and uses up no random number.

    Raises:
        ValueError: if `shots` is less than 1.
    """
    _check_shots(shots)
    rng = random.Random(seed)
    train = sample_classes(split.train, shots, rng)
    val = sample_classes(split.val, min(shots, MAX_VAL_SHOTS), rng)
    return Split(train, val, split.test)


def sample_classes(items: Sequence[Item], shots: int, rng: random.Random, repeat: bool = False) -> tuple[Item, ...]:
    """Draw `shots` items per class, classes in order of first appearance; `repeat` fills up small classes."""
    drawn: list[Item] = []
    for group in group_by_label(items).values():
        if len(group) >= shots:
            drawn += rng.sample(group, shots)
        else:
            drawn += rng.choices(group, k=shots) if repeat else group
    return tuple(drawn)


def group_by_label(items: Iterable[Item]) -> dict[int, list[Item]]:
    """Map label -> its items in list order; labels are in order of first appearance."""
    groups: dict[int, list[Item]] = {}
    for item in items:
        groups.setdefault(item.label, []).append(item)
    return groups


def select_classes(split: Split, half: Half) -> Split:
    """Keep the base half (the first ceil(C / 2) labels), the new half, or all classes; a half is relabelled from 0.

    Draw the shots first: the papers halve the draw, so base, new and all classes share one draw.

    Raises:
        ValueError: if `half` is unknown, or the half has no class because the split has too few.
    """
    if half == "all":
        return split
    if half not in ("base", "new"):
        raise ValueError(f"half is {half!r}; use 'base', 'new' or 'all'")
    labels = sorted({item.label for items in split for item in items})
    middle = (len(labels) + 1) // 2
    chosen = labels[:middle] if half == "base" else labels[middle:]
    if not chosen:
        raise ValueError(f"the {half} half is empty: the split has {len(labels)} class; halving needs two or more")
    new_label = {label: index for index, label in enumerate(chosen)}
    return Split(*(_relabel(items, new_label) for items in split))


def _relabel(items: Iterable[Item], new_label: dict[int, int]) -> tuple[Item, ...]:
    return tuple(Item(i.path, new_label[i.label], i.classname) for i in items if i.label in new_label)


def items_hash(items: Iterable[Item]) -> str:
    """SHA-256 in hex over the lines "path<TAB>label", in order: the same hash means the same images and labels."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(f"{item.path}\t{item.label}\n".encode())
    return digest.hexdigest()


def _check_shots(shots: int) -> None:
    if shots < 1:
        raise ValueError(f"shots is {shots}; expected at least 1 image per class")
