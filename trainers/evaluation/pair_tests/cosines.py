"""Cosines of features, row by row, in double precision, and when one of them is larger than another.

Ties count as errors: two cosines are equal if they differ by `TIE` at most, as in retrieval.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.evaluation.retrieval import TIE


def checked(*names: str, **features: Tensor) -> tuple[Tensor, ...]:
    """Features as unit rows in double precision on the CPU, in the order of the names.

    Raises:
        ValueError: if one has another shape than (N, D) with the same N and D as the first, or a number that is not
            finite; the message names it.
    """
    first = features[names[0]]
    for name in names:
        rows = features[name]
        if rows.ndim != first.ndim or rows.ndim < 2 or rows.shape != first.shape or not rows.numel():
            raise ValueError(
                f"{name} has shape {tuple(rows.shape)} and {names[0]} {tuple(first.shape)}; expected equal shapes, one "
                "row of features for each item"
            )
        if not rows.is_floating_point() or not rows.isfinite().all():
            raise ValueError(f"{name} ({rows.dtype}) holds numbers that are not finite floats; check the model")
    return tuple(F.normalize(features[name].detach().cpu().double(), dim=-1) for name in names)


def cosine(one: Tensor, other: Tensor) -> Tensor:
    """Cosines (...) of unit rows (..., D)."""
    return (one * other).sum(dim=-1)


def beats(one: Tensor, other: Tensor) -> Tensor:
    """Whether each cosine is larger than the other, by more than rounding."""
    return torch.gt(one, other + TIE)
