"""Retrieval with nested vectors: a shortlist by short prefixes, ranked again by longer ones.

Kusupati et al., arXiv:2205.13147, adaptive retrieval and its funnel (RAIVNLab/MRL 7ccb42d). Each step ranks what the
step before left by the cosine of a longer prefix, and keeps fewer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from adaptkit.heads.matryoshka.losses import prefix

FUNNEL_SIZES, FUNNEL_SHORTLISTS = (16, 32, 64, 128, 2048), (200, 100, 50, 25, 10)


@dataclass(frozen=True)
class Ranked:
    """Places (Q, K) in the database, the best first, and the multiply-accumulates of a query in millions."""

    places: Tensor
    mega_macs: float


def search(queries: Tensor, database: Tensor, sizes: Sequence[int], shortlists: Sequence[int]) -> Ranked:
    """Rank a database (N, D) for queries (Q, D), not normalised, step by step.

    Args:
        sizes: of the prefix of every step, such as (16, 512) or those of a funnel.
        shortlists: how many each step keeps, in falling numbers; the last is what is answered.

    Raises:
        ValueError: if there are not as many sizes as shortlists, a shortlist grows, or a size is above the vectors'.
    """
    if len(sizes) != len(shortlists) or not sizes:
        raise ValueError(f"{len(sizes)} sizes and {len(shortlists)} shortlists; give one of each for every step")
    if any(later > earlier for earlier, later in pairwise(shortlists)) or shortlists[-1] < 1:
        raise ValueError(f"shortlists={tuple(shortlists)}; expected numbers that do not grow, 1 or more")
    width = database.shape[1]
    if any(not 1 <= size <= width for size in sizes):
        raise ValueError(f"sizes={tuple(sizes)}; expected 1 to {width}, the size of the vectors")
    places, macs = None, 0.0
    for size, kept in zip(sizes, shortlists, strict=True):
        asked, known = prefix(queries, size), prefix(database, size)
        similar = asked @ known.T if places is None else _among(asked, known, places)  # (Q, candidates)
        macs += similar.shape[1] * size
        best = similar.topk(min(kept, similar.shape[1]), dim=-1).indices
        places = best if places is None else places.gather(1, best)
    assert places is not None
    return Ranked(places, macs / 1e6)


def _among(asked: Tensor, known: Tensor, places: Tensor) -> Tensor:
    """Cosines (Q, K) of queries (Q, m) with the rows of a database (N, m) at places (Q, K)."""
    return torch.stack([known[own] @ query for query, own in zip(asked, places, strict=True)])


def precision_at(relevant: Tensor, k: int) -> float:
    """Mean share of relevant ones among the first k: relevance (Q, K) of what was ranked."""
    return float(relevant[:, :k].double().mean())


def recall_at(relevant: Tensor, totals: Tensor, k: int) -> float:
    """Mean share of the relevant ones of a query, `totals` (Q,), that are among the first k."""
    return float((relevant[:, :k].double().sum(dim=1) / totals.clamp(min=1)).mean())


def mean_average_precision_at(relevant: Tensor, totals: Tensor, k: int) -> float:
    """mAP@k: the mean over relevant ones of the precision at their rank, over min(k, `totals`) of them."""
    hits = relevant[:, :k].double()
    ranks = torch.arange(1, hits.shape[1] + 1).to(hits)
    gained = (hits * hits.cumsum(dim=1) / ranks).sum(dim=1)
    return float((gained / totals.clamp(min=1, max=k)).mean())
