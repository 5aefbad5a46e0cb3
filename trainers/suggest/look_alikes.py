"""Classes that look alike: which are taken for each other, and whose class weights are near."""

from dataclasses import dataclass

import numpy as np

from trainers.evaluation.scoring import Floats, Ints

PAIRS = 12  # of classes that are listed
SHOWN = 4  # images that show a pair


@dataclass(frozen=True)
class AlikeClasses:
    """Two classes, by their labels, and what speaks for their likeness."""

    first: int
    second: int
    confused: int  # held-out images of one that were taken for the other
    images: int  # held-out images of both
    similarity: float  # cosine of their class weights
    shown: tuple[int, ...]  # places of images that show it

    @property
    def share(self) -> float:
        """Share of the images of both that were confused; 0 without held-out answers."""
        return self.confused / self.images if self.images else 0.0


def alike_classes(
    weights: Floats, features: Floats, labels: Ints, held_out: Ints, probabilities: Floats, count: int = PAIRS
) -> list[AlikeClasses]:
    """The pairs of classes that are confused most, then those with the nearest class weights.

    Args:
        weights: unit class weights (C, D).
        features: unit features (N, D) of the images.
        labels: (N,).
        held_out: places (M,) of the images with held-out answers; M may be 0.
        probabilities: of these, (M, C).
    """
    n_classes = len(weights)
    answered = probabilities.argmax(axis=1) if len(held_out) else np.zeros(0, dtype=np.int64)
    right = labels[held_out]
    taken = np.zeros((n_classes, n_classes), dtype=np.int64)
    np.add.at(taken, (right, answered), 1)
    confused, images = taken + taken.T, np.bincount(right, minlength=n_classes)
    cosines = weights @ weights.T
    firsts, seconds = np.triu_indices(n_classes, k=1)
    total = images[firsts] + images[seconds]
    shares = confused[firsts, seconds] / np.maximum(total, 1)
    order = np.lexsort((-cosines[firsts, seconds], -shares))[:count]
    found = []
    for place in order.tolist():
        first, second = int(firsts[place]), int(seconds[place])
        shown = _confused_most(first, second, held_out, right, answered, probabilities)
        shown = shown or _nearest_to_the_other(first, second, features, labels)
        both, cosine = int(total[place]), float(cosines[first, second])
        found.append(AlikeClasses(first, second, int(confused[first, second]), both, cosine, shown))
    return found


def _confused_most(
    first: int, second: int, held_out: Ints, right: Ints, answered: Ints, probabilities: Floats
) -> tuple[int, ...]:
    """Places of the images of one that are most surely taken for the other."""
    crossed = ((right == first) & (answered == second)) | ((right == second) & (answered == first))
    rows = np.flatnonzero(crossed)
    sure = probabilities[rows, answered[rows]]
    return tuple(held_out[rows[np.argsort(-sure, kind="stable")][:SHOWN]].tolist())


def _nearest_to_the_other(first: int, second: int, features: Floats, labels: Ints) -> tuple[int, ...]:
    """Places of images of each class that are nearest to the mean of the other's."""
    shown: list[int] = []
    for own, other in ((first, second), (second, first)):
        ours, theirs = np.flatnonzero(labels == own), np.flatnonzero(labels == other)
        if len(ours) and len(theirs):
            near = features[ours] @ features[theirs].mean(axis=0)
            shown += ours[np.argsort(-near, kind="stable")][: SHOWN // 2].tolist()
    return tuple(shown)
