"""Folds of labelled images: which of them are held out together, class by class.

Calibration, `train auto` and `suggest` let trainings without a fold say what they make of the fold. They divide images
by this one rule and differ in what they count as one image: files of the same bytes, images with the same features, or
near duplicates to the eye.
"""

import random
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from trainers.compute.seeds import derived_seed
from trainers.evaluation.scoring import Ints

FOLDS = 5


@dataclass(frozen=True)
class Folds:
    """Places of the images that each fold holds out; an image that is in no fold is always learnt from."""

    held: tuple[tuple[int, ...], ...]
    images: int  # N

    def learnt(self, fold: int) -> tuple[int, ...]:
        """Places of the images that are learnt from while a fold is held out."""
        out = set(self.held[fold])
        return tuple(place for place in range(self.images) if place not in out)

    def first(self, count: int) -> Ints:
        """Places that the first `count` folds hold out, fold after fold."""
        return np.array([place for fold in self.held[:count] for place in fold], dtype=np.int64)


def make_folds(labels: Sequence[int], same: Sequence[Hashable], seed: int, most: int = FOLDS) -> Folds:
    """Divide images into folds, each of which holds an image out; none where no class has two different images.

    Images that count as one share a fold, so that no copy of a held-out image is learnt from; they are of the class of
    their first. Each class is spread over the folds as evenly as it can be, beginning with the fold after the one where
    the class before ended. A class that would be held out as a whole is always learnt from: that with one image, and
    that whose images are copies of others in one fold. So every class is in every training.

    Args:
        labels: N numbers.
        same: N keys, equal for images that count as one.
        seed: of the order within a class.
        most: folds, which are no more than the largest class has different images.
    """
    copies: dict[Hashable, list[int]] = {}
    for place, key in enumerate(same):
        copies.setdefault(key, []).append(place)
    of_class: dict[int, list[list[int]]] = {}
    for places in copies.values():
        of_class.setdefault(labels[places[0]], []).append(places)
    count = min(most, max(map(len, of_class.values()), default=0))
    fold_of: dict[int, int] = {}
    start = 0
    for label in sorted(of_class):
        different = of_class[label]
        if len(different) > 1:
            random.Random(derived_seed("folds", seed, label)).shuffle(different)
            for number, places in enumerate(different, start):
                fold_of |= dict.fromkeys(places, number % count)
            start += len(different)
    _keep_every_class(fold_of, labels, [copies[key] for key in same])
    held: list[list[int]] = [[] for _ in range(count)]
    for place in sorted(fold_of):
        held[fold_of[place]].append(place)
    return Folds(tuple(tuple(fold) for fold in held if fold), len(labels))


def _keep_every_class(fold_of: dict[int, int], labels: Sequence[int], copies: Sequence[Sequence[int]]) -> None:
    """Take the images of classes that are in one fold as a whole out of it, with the copies (N lists) of each."""
    of_class: dict[int, list[int]] = {}
    for place, label in enumerate(labels):
        of_class.setdefault(label, []).append(place)
    for label in sorted(of_class):
        own = of_class[label]
        if len({fold_of.get(place) for place in own}) == 1:
            for place in own:
                for copy in copies[place]:
                    fold_of.pop(copy, None)
