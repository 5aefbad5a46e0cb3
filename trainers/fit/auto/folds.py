"""Folds of training images: stratified, seeded, and with equal images of a class on one side.

A class with a single image, or with copies of one, is never held out, so that every fold learns every class.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from trainers.compute.seeds import derived_seed
from trainers.evaluation.scoring import Ints

FOLDS = 5
ALIKE = 1 - 1e-5  # cosine of the features from which on two images count as one
BLOCK = 1024  # rows of similarities at a time
LEAST_SHARE = 0.5  # of the classes that have two different images: below it, held-out images say too little


@dataclass(frozen=True)
class Folds:
    """What is held out: places of images, fold by fold; no image is in two of them."""

    held: tuple[tuple[int, ...], ...]
    images: int  # N, of which some may be in no fold

    def learnt(self, fold: int) -> tuple[int, ...]:
        """Places of the images that are learnt from while a fold is held out."""
        out = set(self.held[fold])
        return tuple(place for place in range(self.images) if place not in out)

    def first(self, count: int) -> Ints:
        """Places that the first `count` folds hold out, fold after fold."""
        return np.array([place for fold in self.held[:count] for place in fold], dtype=np.int64)


def alike(features: Tensor, labels: Sequence[int]) -> list[int]:
    """For each image the place of the first image of its class that has the same features, which may be its own.

    Args:
        features: frozen image features (N, D).
        labels: N numbers.
    """
    unit = F.normalize(features.double(), dim=-1)
    first = list(range(len(labels)))
    places: dict[int, list[int]] = {}
    for place, label in enumerate(labels):
        places.setdefault(label, []).append(place)
    for members in places.values():
        rows = [(part @ unit[members].T > ALIKE).numpy().argmax(axis=1) for part in unit[members].split(BLOCK)]
        for place, row in zip(members, np.concatenate(rows).tolist(), strict=True):
            first[place] = first[members[row]]
    return first


def all_alike(features: Tensor) -> bool:
    """Whether every image has the features (N, D) of the first."""
    unit = F.normalize(features.double(), dim=-1)
    return bool((unit @ unit[0] > ALIKE).all())


def make_folds(labels: Sequence[int], first: Sequence[int], seed: int, most: int = FOLDS) -> Folds | None:
    """Divide images into at most `most` folds; None where too few classes have two different images.

    Args:
        labels: of N images.
        first: of each image the one that it is equal to, as `alike` finds it.
        seed: of the order within a class.
    """
    groups: dict[int, dict[int, list[int]]] = {}
    for place, label in enumerate(labels):
        groups.setdefault(label, {}).setdefault(first[place], []).append(place)
    usable = {label: list(found.values()) for label, found in groups.items() if len(found) > 1}
    if len(usable) < LEAST_SHARE * len(groups) or len(usable) < 2:
        return None
    count = min(most, max(len(found) for found in usable.values()))
    held: list[list[int]] = [[] for _ in range(count)]
    begin = 0  # goes on from class to class, so that folds are of equal size
    for label in sorted(usable):
        found = usable[label]
        random.Random(derived_seed("folds", seed, label)).shuffle(found)
        for number, group in enumerate(found):
            held[(begin + number) % count] += group
        begin += len(found)
    kept = tuple(tuple(sorted(fold)) for fold in held if fold)
    return Folds(kept, len(labels)) if len(kept) > 1 else None
