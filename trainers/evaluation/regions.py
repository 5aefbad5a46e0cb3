"""Scores of region retrieval: R-precision from regions to attributes, and from attributes to regions."""

import torch
from torch import Tensor


def r_precision(scores: Tensor, relevant: Tensor) -> float:
    """The share of right answers among the first R of each query, in percent, R being how many right answers it has.

    The mean over the queries that have a right answer; answers of one score keep their order.

    Args:
        scores: (Q, N), higher where an answer is more likely.
        relevant: (Q, N), 1 or True where an answer is right.

    Raises:
        ValueError: if the shapes differ, or no query has a right answer.
    """
    if scores.shape != relevant.shape or scores.ndim != 2:
        raise ValueError(f"scores {tuple(scores.shape)} and relevant {tuple(relevant.shape)}; expected (Q, N) of both")
    right = relevant.bool()
    asked = right.any(dim=1)
    if not asked.any():
        raise ValueError("no query has a right answer, so there is nothing to find")
    scores, right = scores[asked], right[asked]
    order = scores.argsort(dim=1, descending=True, stable=True)
    counts = right.sum(dim=1, keepdim=True)
    first = torch.arange(scores.shape[1], device=scores.device) < counts
    hits = (right.gather(1, order) & first).sum(dim=1)
    return 100 * float((hits / counts[:, 0]).mean())
