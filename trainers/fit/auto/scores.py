"""Scores of answers to held-out images, with standard errors: pure functions of arrays.

Each image has a weight: one over N for accuracy, and for balanced accuracy one over the number of classes times the
images of its class. A score is sum_i w_i h_i over hits h, and the standard error of a weighted mean m of x_i is
sqrt(N / (N - 1) * sum_i w_i^2 (x_i - m)^2). A difference is the mean of paired differences of hits, image by image.
It does not know that images of one fold were judged by one training.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from trainers.evaluation.scoring import Bools, Floats, Ints

Metric = Literal["balanced_accuracy", "accuracy"]
METRICS: tuple[Metric, ...] = get_args(Metric)


@dataclass(frozen=True)
class Estimate:
    """A mean and its standard error, both in percent."""

    mean: float
    error: float


def weights(labels: Ints, metric: Metric) -> Floats:
    """Weights (N,) of images, which sum to 1."""
    if metric == "accuracy":
        return np.full(len(labels), 1 / len(labels))
    _, place, counts = np.unique(labels, return_inverse=True, return_counts=True)
    own: Floats = 1.0 / (len(counts) * counts[place])
    return own


def estimate(hits: Bools, labels: Ints, metric: Metric) -> Estimate:
    """The score of hits (N,)."""
    return _weighted(hits.astype(np.float64), weights(labels, metric))


def difference(hits: Bools, others: Bools, labels: Ints, metric: Metric) -> Estimate:
    """By how much hits (N,) score above others on the same images."""
    return _weighted(hits.astype(np.float64) - others, weights(labels, metric))


def _weighted(values: Floats, own: Floats) -> Estimate:
    count = len(values)
    mean = float((own * values).sum())
    spread = float((own**2 * (values - mean) ** 2).sum())
    return Estimate(100 * mean, 100 * math.sqrt(spread * count / max(1, count - 1)))
