"""Logits and labels -> accuracy and other scores: pure functions of arrays, without torch.

Accuracy is that of the papers: 100 * correct / total over all test images; the first class wins a tie.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

ECE_BINS = 15
Z_95 = 1.959963984540054  # 95 % of a standard normal lies within +- this.


@dataclass(frozen=True)
class ConfidenceBin:
    """The test images with a confidence in one of 15 equal intervals (low, high]."""

    images: int
    correct: int
    confidence: float  # Mean confidence in percent; 0 without images.


@dataclass(frozen=True)
class Score:
    """Results of one test of one model."""

    accuracy: float  # Accuracy in percent.
    correct: int
    total: int
    interval: tuple[float, float]  # 95 % interval of the accuracy, in percent.
    ece: float  # Expected calibration error in percent.
    nll: float  # Mean negative log-likelihood of the right class, in nats.
    per_class: tuple[float, ...]  # Accuracies in percent, C of them; NaN for a class without test images.
    bins: tuple[ConfidenceBin, ...]  # 15 bins by rising confidence.
    hits: Bools  # (N,), True for a right answer, in the order of the items.
    is_uneven: bool = False  # Classes have different numbers of images.

    @property
    def balanced_accuracy(self) -> float:
        """Mean of the accuracies of the classes that have images, in percent: each class counts alike."""
        return float(np.nanmean(self.per_class))


def score(logits: Floats, labels: Ints) -> Score:
    """Compute all results of one test.

    Raises:
        ValueError: if a label is no column of the logits, or a logit is not a number.
    """
    if len(labels) and not 0 <= labels.min() <= labels.max() < logits.shape[1]:
        raise ValueError(f"labels reach from {labels.min()} to {labels.max()}; logits have {logits.shape[1]} classes")
    if not np.isfinite(logits).all():
        raise ValueError("a logit is not finite, so no class is predicted; did the training diverge?")
    hits = logits.argmax(axis=1) == labels  # argmax takes the first index in a tie.
    bins = confidence_bins(logits, labels)
    correct, total = int(hits.sum()), len(hits)
    return Score(
        accuracy=100 * correct / total,
        correct=correct,
        total=total,
        interval=wilson_interval(correct, total),
        ece=expected_calibration_error(bins),
        nll=negative_log_likelihood(logits, labels),
        per_class=per_class_accuracy(hits, labels, logits.shape[1]),
        bins=bins,
        hits=hits,
        is_uneven=len(set(np.bincount(labels, minlength=logits.shape[1]).tolist())) > 1,
    )


def per_class_accuracy(hits: Bools, labels: Ints, n_classes: int) -> tuple[float, ...]:
    """Accuracy of each class in percent; NaN for a class without images."""
    total = np.bincount(labels, minlength=n_classes)
    right = np.bincount(labels, weights=hits, minlength=n_classes)
    return tuple(100 * r / t if t else math.nan for r, t in zip(right.tolist(), total.tolist(), strict=True))


def harmonic_mean(base: float, new: float) -> float:
    """Harmonic mean 2 B N / (B + N), or 0 if both are 0."""
    return 2 * base * new / (base + new) if base + new else 0.0


def log_probabilities(logits: Floats) -> Floats:
    """Log-softmax over the classes: (N, C)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def negative_log_likelihood(logits: Floats, labels: Ints) -> float:
    """Negative log-likelihood of the right class, mean over images, in nats."""
    return float(-log_probabilities(logits)[np.arange(len(labels)), labels].mean())


def confidence_bins(logits: Floats, labels: Ints) -> tuple[ConfidenceBin, ...]:
    """The images grouped by the probability of their predicted class, as in a reliability diagram."""
    confidence = np.exp(log_probabilities(logits).max(axis=1))
    hits = logits.argmax(axis=1) == labels
    place = np.clip(np.ceil(confidence * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)  # Bins are (low, high].
    images = np.bincount(place, minlength=ECE_BINS)
    correct = np.bincount(place, weights=hits, minlength=ECE_BINS).astype(np.int64)
    mean = 100 * np.bincount(place, weights=confidence, minlength=ECE_BINS) / np.maximum(images, 1)
    rows = zip(images.tolist(), correct.tolist(), mean.tolist(), strict=True)
    return tuple(ConfidenceBin(*row) for row in rows)


def expected_calibration_error(bins: tuple[ConfidenceBin, ...]) -> float:
    """Mean gap between confidence and accuracy over the bins, weighted by images, in percent.

    Guo et al., "On Calibration of Modern Neural Networks", arXiv:1706.04599.
    """
    gaps = (abs(100 * one.correct - one.confidence * one.images) for one in bins)
    return sum(gaps) / sum(one.images for one in bins)


def wilson_interval(correct: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a proportion, in percent: Wilson's, which stays sensible near 0 and 100."""
    p = correct / total
    scale = 1 + Z_95**2 / total
    centre = (p + Z_95**2 / (2 * total)) / scale
    half = Z_95 * math.sqrt(p * (1 - p) / total + Z_95**2 / (4 * total**2)) / scale
    return 100 * max(0.0, centre - half), 100 * min(1.0, centre + half)
