"""What a method gets right: logits of the test images, then pure functions of arrays.

Accuracy as the papers count it: 100 * correct / total over all test images, ties going to the first class.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adaptkit.method import AdaptedCLIP
from trainers.precision import Precision, autocast

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

EVAL_BATCH = 1024  # rows of features per call
ECE_BINS = 15
Z_95 = 1.959963984540054  # a standard normal variable lies within +- this in 95 % of cases


@dataclass(frozen=True)
class Score:
    """One test of one model."""

    accuracy: float  # percent
    correct: int
    total: int
    interval: tuple[float, float]  # of the accuracy, 95 %, percent
    ece: float  # expected calibration error, percent
    nll: float  # mean negative log-likelihood of the right class, nats
    per_class: tuple[float, ...]  # accuracy in percent, C of them; NaN where a class has no test image
    hits: Bools  # (N,) which test images were right, in the order of the items


@torch.no_grad()
def predict(
    method: AdaptedCLIP, batches: Iterable[tuple[Tensor, Tensor]], precision: Precision = "fp32"
) -> tuple[Floats, Ints]:
    """Logits (N, C) and labels (N,) of all batches; class texts are encoded once where no image changes them."""
    device = method.backbone.device
    method.eval()
    rows: list[Tensor] = []
    labels: list[Tensor] = []
    with method.encode_classes_once():
        for x, y in batches:
            with autocast(device, precision):
                rows.append(method.logits(x.to(device, non_blocking=True)).float().cpu())
            labels.append(y.cpu())
    if not sum(len(y) for y in labels):
        raise ValueError("there are no test images; the split's test list is empty")
    return torch.cat(rows).double().numpy(), torch.cat(labels).numpy()


def evaluate(method: AdaptedCLIP, x: Tensor, labels: Tensor, precision: Precision = "fp32") -> Score:
    """Score a method on what it consumes, N rows, and their labels (N,)."""
    return score(*predict(method, _in_batches(x, labels), precision))


def _in_batches(x: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    yield from zip(x.split(EVAL_BATCH), labels.split(EVAL_BATCH), strict=True)


def score(logits: Floats, labels: Ints) -> Score:
    """All numbers of one test.

    Raises:
        ValueError: if a label is no column of the logits, or a logit is not a number.
    """
    if len(labels) and not 0 <= labels.min() <= labels.max() < logits.shape[1]:
        raise ValueError(f"labels reach from {labels.min()} to {labels.max()}; logits have {logits.shape[1]} classes")
    if not np.isfinite(logits).all():
        raise ValueError("a logit is not finite, so no class is predicted; did the training diverge?")
    hits = logits.argmax(axis=1) == labels  # argmax takes the first index on ties
    correct, total = int(hits.sum()), len(hits)
    return Score(
        accuracy=100 * correct / total,
        correct=correct,
        total=total,
        interval=wilson_interval(correct, total),
        ece=expected_calibration_error(logits, labels),
        nll=negative_log_likelihood(logits, labels),
        per_class=per_class_accuracy(hits, labels, logits.shape[1]),
        hits=hits,
    )


def per_class_accuracy(hits: Bools, labels: Ints, n_classes: int) -> tuple[float, ...]:
    """Percent of the images of each class that were right; NaN for a class without images."""
    total = np.bincount(labels, minlength=n_classes)
    right = np.bincount(labels, weights=hits, minlength=n_classes)
    return tuple(100 * r / t if t else math.nan for r, t in zip(right.tolist(), total.tolist(), strict=True))


def harmonic_mean(base: float, new: float) -> float:
    """2 B N / (B + N), and 0 where both are 0."""
    return 2 * base * new / (base + new) if base + new else 0.0


def log_probabilities(logits: Floats) -> Floats:
    """Log-softmax over the classes: (N, C)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def negative_log_likelihood(logits: Floats, labels: Ints) -> float:
    """Mean over the images, in nats."""
    return float(-log_probabilities(logits)[np.arange(len(labels)), labels].mean())


def expected_calibration_error(logits: Floats, labels: Ints) -> float:
    """Mean gap between confidence and accuracy over 15 equal bins of confidence, weighted by images, in percent.

    Guo et al., "On Calibration of Modern Neural Networks", arXiv:1706.04599.
    """
    confidence = np.exp(log_probabilities(logits).max(axis=1))
    hits = logits.argmax(axis=1) == labels
    bins = np.clip(np.ceil(confidence * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)  # bins are (low, high]
    gap = np.bincount(bins, weights=hits - confidence, minlength=ECE_BINS)
    return float(100 * np.abs(gap).sum() / len(labels))


def wilson_interval(correct: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a proportion, in percent: Wilson's, which stays sensible near 0 and 100."""
    p = correct / total
    scale = 1 + Z_95**2 / total
    centre = (p + Z_95**2 / (2 * total)) / scale
    half = Z_95 * math.sqrt(p * (1 - p) / total + Z_95**2 / (4 * total**2)) / scale
    return 100 * max(0.0, centre - half), 100 * min(1.0, centre + half)
