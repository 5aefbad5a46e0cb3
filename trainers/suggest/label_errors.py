"""Labels that held-out answers contradict with confidence: confident learning.

Northcutt, Jiang & Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", arXiv:1911.00068. With the
held-out probability p(i, j) of class j for image i, the threshold of a class is its mean probability on its own images,
    t_j = mean over {i : label i is j} of p(i, j)
and image i counts as class j* = argmax of p(i, j) over {j : p(i, j) >= t_j}. It is listed where j* is not its label, in
the order of the margin p(i, label) - p(i, j*), the lowest first. A class that the model is never sure of needs less,
and an overconfident model raises its own thresholds.

Departure: the paper goes on to estimate how many labels of each class are wrong, and cuts the list there; with a few
    images of a class that estimate is noise, so the whole list stands, and people stop where it stops being worth it.
"""

from dataclasses import dataclass

import numpy as np

from trainers.evaluation.scoring import Floats, Ints


@dataclass(frozen=True)
class Doubt:
    """An image whose label is doubted."""

    place: int
    suggested: int  # the class that the model is confident of
    own: float  # held-out probability of the label
    other: float  # of the suggested class

    @property
    def margin(self) -> float:
        """From -1, a label without any support, to 0."""
        return self.own - self.other


def find_doubts(probabilities: Floats, labels: Ints) -> list[Doubt]:
    """The images whose label is contradicted, the most confident first.

    Args:
        probabilities: held-out, (N, C).
        labels: (N,).
    """
    n_classes = probabilities.shape[1]
    images = np.bincount(labels, minlength=n_classes)
    own = probabilities[np.arange(len(labels)), labels]
    total = np.bincount(labels, weights=own, minlength=n_classes)
    thresholds = np.where(images > 0, total / np.maximum(images, 1), np.inf)  # (C,)
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    best = confident.argmax(axis=1)
    wrong = np.flatnonzero((confident.max(axis=1) >= 0) & (best != labels))
    doubts = [Doubt(i, int(best[i]), float(own[i]), float(probabilities[i, best[i]])) for i in wrong.tolist()]
    return sorted((doubt for doubt in doubts if doubt.margin < 0), key=lambda doubt: (doubt.margin, doubt.place))
