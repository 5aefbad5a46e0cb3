"""Folds of labelled images: every class is spread over them, and near duplicates are never apart."""

from collections.abc import Sequence

import numpy as np

from datasets_fewshot import Item
from trainers.evaluation.scoring import Ints

NEVER = -1  # fold of an image that is always learnt from


def assign_folds(items: Sequence[Item], groups: Ints, count: int, seed: int) -> Ints:
    """The fold of each of N images, from 0; NEVER for those of a class that would be left without an image.

    A copy of an image in another fold would give its label away, so a group of near duplicates is one unit, of the
    class of its first image. A class of one unit is always learnt from. What remains of every other class in every
    fold is one unit or more.

    Args:
        groups: (N,), equal for near duplicates.
        count: folds, at most as many as the largest class has units; then they are fewer.
    """
    units: dict[int, dict[int, list[int]]] = {}  # label -> group -> places
    owner: dict[int, int] = {}
    for place, (item, group) in enumerate(zip(items, groups.tolist(), strict=True)):
        label = owner.setdefault(group, item.label)
        units.setdefault(label, {}).setdefault(group, []).append(place)
    count = min(count, max(len(own) for own in units.values()))
    folds = np.full(len(items), NEVER, dtype=np.int64)
    random, next_fold = np.random.default_rng([seed, count]), 0
    for label in sorted(units):
        own = list(units[label].values())
        if len(own) < 2:
            continue
        for unit in random.permutation(len(own)).tolist():
            folds[own[unit]] = next_fold % count
            next_fold += 1
    return folds
