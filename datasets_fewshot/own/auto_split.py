"""Draw a stratified split for data that come without one."""

import random
from collections.abc import Iterable

from datasets_fewshot.dataset import Item, Split
from datasets_fewshot.paper_format.fallback import VAL_SHARE
from datasets_fewshot.splits.split_files import group_by_label

TEST_SHARE = 0.3


def auto_split(items: Iterable[Item], seed: int) -> Split:
    """Shuffle each class and cut it 50 / 20 / 30 into train, val and test, like the papers' own splits.

    A small class gives one image to train first, then to test, then to val. Classes come in label order and images
    in path order, whatever the order of `items`.
    """
    rng = random.Random(seed)
    groups = group_by_label(sorted(items, key=lambda item: (item.label, item.path)))
    lists: tuple[list[Item], list[Item], list[Item]] = ([], [], [])
    for group in groups.values():
        rng.shuffle(group)
        n_test = max(1, round(len(group) * TEST_SHARE)) if len(group) > 1 else 0
        n_val = max(1, round(len(group) * VAL_SHARE)) if len(group) > 2 else 0
        n_train = len(group) - n_test - n_val
        lists[0].extend(group[:n_train])
        lists[1].extend(group[n_train : n_train + n_val])
        lists[2].extend(group[n_train + n_val :])
    return Split(*map(tuple, lists))
