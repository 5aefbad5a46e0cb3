"""Labels that held-out answers contradict, the least believed first, and which of them with confidence.

Northcutt, Jiang & Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", arXiv:1911.00068. With the
held-out probability p(i, j) of class j for image i, the threshold of a class is its mean probability on its own images,
    t_j = mean over {i : label i is j} of p(i, j)
and image i is confidently another class where, of {j : p(i, j) >= t_j}, the most probable j is not its label. A class
that the model is never sure of needs less, and an overconfident model raises its own thresholds. The order is by the
paper's self-confidence p(i, label), the lowest first, which on embedded data with planted errors has more of them at
its beginning than the order of margins p(i, label) - p(i, j) has. `benchmarks/suggest_suite.py` measures it.

Departure: the paper goes on to estimate how many labels of each class are wrong, and cuts the list there. With a few
    images of a class that estimate is noise, and the confident ones alone leave up to three in ten planted errors out.
    So every image whose held-out answer is another class is listed, and people stop where it stops being worth it.
"""

from dataclasses import dataclass

import numpy as np

from trainers.evaluation.scoring import Floats, Ints


@dataclass(frozen=True)
class Doubt:
    """An image whose label is doubted."""

    place: int
    suggested: int  # the held-out answer
    own: float  # held-out probability of the label
    other: float  # of the answer
    confident: bool  # whether confident learning counts it as another class


def find_doubts(probabilities: Floats, labels: Ints) -> list[Doubt]:
    """The images whose label is contradicted, those with the least probable labels first.

    Args:
        probabilities: held-out, (N, C).
        labels: (N,).
    """
    n_classes = probabilities.shape[1]
    images = np.bincount(labels, minlength=n_classes)
    own = probabilities[np.arange(len(labels)), labels]
    total = np.bincount(labels, weights=own, minlength=n_classes)
    thresholds = np.where(images > 0, total / np.maximum(images, 1), np.inf)  # (C,)
    above = np.where(probabilities >= thresholds, probabilities, -1.0)
    is_confident = (above.max(axis=1) >= 0) & (above.argmax(axis=1) != labels)
    answers = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(answers != labels)
    doubts = [
        Doubt(i, int(answers[i]), float(own[i]), float(probabilities[i, answers[i]]), bool(is_confident[i]))
        for i in wrong.tolist()
    ]
    return sorted(doubts, key=lambda doubt: (doubt.own, doubt.place))
