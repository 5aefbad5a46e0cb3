"""How well predicted grades agree with given ones: pure functions of arrays, without torch.

They are those of the literature on image quality: Spearman's rank correlation (SRCC), Pearson's correlation (PLCC,
without the logistic mapping that some papers fit in front of it) and the root mean squared error (RMSE).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Agreement:
    """Predicted grades against given ones."""

    srcc: float  # of ranks, -1 to 1; ties have the mean of their ranks
    plcc: float  # of the grades, -1 to 1
    rmse: float  # in the units of the grades
    count: int  # of images


def agreement(predicted: Sequence[float], given: Sequence[float]) -> Agreement:
    """SRCC, PLCC and RMSE; a correlation with grades that are all the same is 0.

    Raises:
        ValueError: if there are not as many of both, or fewer than two.
    """
    if len(predicted) != len(given) or len(given) < 2:
        raise ValueError(f"{len(predicted)} predicted and {len(given)} given grades; expected as many, two or more")
    ours, theirs = np.asarray(predicted, dtype=np.float64), np.asarray(given, dtype=np.float64)
    return Agreement(
        srcc=pearson(ranks(ours), ranks(theirs)),
        plcc=pearson(ours, theirs),
        rmse=float(np.sqrt(np.mean((ours - theirs) ** 2))),
        count=len(theirs),
    )


def pearson(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Pearson's correlation of two rows; 0 where one of them does not vary."""
    first, second = one - one.mean(), other - other.mean()
    length = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / length if length > 0 else 0.0


def ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1; equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - counts + 1 + last) / 2)[place]
