"""Known facts of the papers' data sets, before any file is read: sizes, class names, hashes of the published draws."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from datasets_fewshot.dataset import Item, Split
from datasets_fewshot.splits.split_files import draw_few_shot, items_hash

DATA = Path(__file__).parent.parent / "data"


@dataclass(frozen=True)
class Facts:
    """Sizes of a paper's lists, class names in label order, and hashes of the lists and the published draws."""

    train: int
    val: int
    test: int
    classnames: tuple[str, ...]
    draws: Mapping[str, tuple[int, str]]  # "train 16 1" (list, shots, seed) -> (images, first 16 hex digits)
    lists: Mapping[str, str]  # "train", "val" and "test" -> items_hash; empty where no split file was released


@cache
def facts(name: str) -> Facts:
    """Look up the facts of one of the papers' data sets.

    Raises:
        KeyError: if the name is not one of the fifteen.
    """
    row = _all_facts()[name]
    classnames = tuple(row["classnames"]) if "classnames" in row else imagenet_family_names(name)
    draws = {draw: (int(count), str(digest)) for draw, (count, digest) in row.get("draws", {}).items()}
    return Facts(row["train"], row["val"], row["test"], classnames, draws, row.get("lists", {}))


def is_papers_split(name: str, split: Split) -> bool:
    """Whether the three lists are those of the released split file: images, labels, order and class names."""
    known = facts(name)
    hashes = {part: items_hash(items) for part, items in zip(("train", "val", "test"), split, strict=True)}
    names = {item.label: item.classname for items in split for item in items}
    return hashes == known.lists and tuple(names[label] for label in sorted(names)) == known.classnames


@cache
def imagenet_names() -> Mapping[str, str]:
    """Map ImageNet's wnids, in sorted order, which is label order -> the names curated by CLIP's authors."""
    lines = (DATA / "imagenet_classnames.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split(" ", 1) for line in lines)


@cache
def imagenet_family_wnids(name: str) -> tuple[str, ...]:
    """The wnids of ImageNet or of one of its variants, in label order: 200 for A and R, else all 1,000."""
    file = DATA / f"{name}_wnids.txt"
    return tuple(file.read_text(encoding="utf-8").split()) if file.is_file() else tuple(imagenet_names())


def imagenet_family_names(name: str) -> tuple[str, ...]:
    """Class names of ImageNet or of one of its variants, in label order."""
    return tuple(imagenet_names()[wnid] for wnid in imagenet_family_wnids(name))


def imagenet_labels(name: str) -> tuple[int, ...]:
    """ImageNet's label for each label of a variant: the rows of a 1,000-way classifier that score ImageNet-A or -R."""
    label = {wnid: index for index, wnid in enumerate(imagenet_names())}
    return tuple(label[wnid] for wnid in imagenet_family_wnids(name))


def draw_differences(name: str, split: Split, image_folder: str, draws: Iterable[str] | None = None) -> tuple[str, ...]:
    """List the published draws that this split fails to reproduce, as "train 16 1" (list, shots, seed).

    Args:
        image_folder: path from the data set's folder to its image root; the published paths begin with it.
        draws: the draws to compare; all by default. A draw that was never published agrees with anything.
    """
    prefix = f"{image_folder}/" if image_folder else ""
    published = facts(name).draws
    different = []
    for key in published if draws is None else [key for key in draws if key in published]:
        count, digest = published[key]
        which, shots, seed = key.split()
        drawn = draw_few_shot(split, int(shots), int(seed))
        items = drawn.train if which == "train" else drawn.val
        hashed = items_hash(Item(prefix + item.path, item.label, item.classname) for item in items)
        if (len(items), hashed[:16]) != (count, digest):
            different.append(key)
    return tuple(different)


@cache
def _all_facts() -> dict[str, dict]:
    return json.loads((DATA / "paper_datasets.json").read_text(encoding="utf-8"))
