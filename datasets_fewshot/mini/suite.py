"""The embedded data sets: small, real, openly licensed images inside the package, read without unpacking.

There are six data sets of emoji by group, and emoji subgroups, clip art, icons and a sample of Fashion-MNIST. The
drawings are of families that the embedded model never saw in pre-training. mini/NOTICE names authors and licences,
mini/suite.json their sizes. The path of an emoji or icon begins with its family, such as `emojitwo` or `twemoji`.
"""

import json
from functools import partial
from pathlib import Path
from typing import TypedDict

from datasets_fewshot.dataset import FewShotDataset, Item, Split
from datasets_fewshot.registry import register_dataset
from datasets_fewshot.splits.split_files import read_split

FOLDER = Path(__file__).parent


class Facts(TypedDict):
    """A data set's row of suite.json."""

    classes: int
    train: int
    val: int
    test: int
    archive: str  # name of the archive in mini/images
    families: dict[str, list[str]]  # "train", "val" or "test" -> the drawing families in that list
    sources: list[str]  # written as package@version
    licences: list[str]  # SPDX identifiers


MINI_DATASETS: dict[str, Facts] = json.loads((FOLDER / "suite.json").read_text(encoding="utf-8"))


def load_embedded(
    name: str,
    root: Path | None = None,
    *,
    train_families: str | None = None,
    test_family: str | None = None,
) -> FewShotDataset:
    """Load an embedded data set; `root` is not needed, because the images lie in the package.

    Args:
        train_families: families to learn from, separated by commas, for generalisation over drawing styles.
        test_family: the family to test on, for the same purpose; labels do not change.

    Raises:
        ValueError: if the data set has no such family, or a family is on both sides.
    """
    facts = MINI_DATASETS[name]
    split = read_split(FOLDER / "splits" / f"{name}.json")
    if train_families is not None or test_family is not None:
        learnt = facts["families"]["train"] if train_families is None else train_families.split(",")
        tested = facts["families"]["test"] if test_family is None else [test_family]
        check_families(name, learnt, tested)
        split = choose_families(split, learnt, tested)
    return FewShotDataset(name, FOLDER / "images" / facts["archive"], split)


def check_families(name: str, learnt: list[str], tested: list[str]) -> None:
    """Check that the data set has all families, and that none is on both sides.

    Raises:
        ValueError: names the family.
    """
    known = {family for families in MINI_DATASETS[name]["families"].values() for family in families}
    for family in (*learnt, *tested):
        if family not in known:
            raise ValueError(f"{name} has no drawing family {family!r} to choose; it has {', '.join(sorted(known))}")
    if both := sorted(set(learnt) & set(tested)):
        raise ValueError(f"{name} cannot learn from and test on {both[0]!r}; leave it out of train_families")


def choose_families(split: Split, learnt: list[str], tested: list[str]) -> Split:
    """Put items of `learnt` families into train and of `tested` ones into test; val keeps items of other families."""
    items = [item for part in split for item in part]
    return Split(
        tuple(item for item in items if family_of(item) in learnt),
        tuple(item for item in split.val if family_of(item) not in (*learnt, *tested)),
        tuple(item for item in items if family_of(item) in tested),
    )


def family_of(item: Item) -> str:
    """The drawing family of an emoji: the first folder of its path."""
    return item.path.split("/")[0]


for _name in MINI_DATASETS:
    register_dataset(_name, "mini", partial(load_embedded, _name))
