"""Which tokens merge into which, and the averages that they become (Bolya et al., arXiv:2210.09461, section 3).

Tokens x (B, n, C) with a metric a (B, n, c), their mean keys, are split into two sets A and B; with rows of a at unit
length, every token of A has its nearest of B,
    s_i = max_j a_i . b_j,   i in A, j in B,
and the r of A with the largest s_i merge into their nearest. Sizes m, at first 1, weigh the averages:
    x' = sum m x / sum m,   m' = sum m      over a token and all that merge into it
The way back gives every token the average that it is part of.

Departure: the released code masks the scores of a class token; here it stands in neither set, which chooses the same.
Departure: without a class token the released code leaves the unmerged tokens of A in the order of falling scores; here
    they keep their order, and `order="score"` does as the code.
Departure: the released code cannot undo the order that it brings a distillation token into; the way back here can.
Departure: ties go to the token in front, on every device.
"""

from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.towers.shortening import Matching, rows_at

Reduce = Literal["mean", "sum", "amax"]
Order = Literal["position", "score"]


@torch.no_grad()
def bipartite_soft_matching(metric: Tensor, r: int, protected: int = 1, order: Order = "position") -> Matching:
    """Merge the r most similar tokens: A are the even positions, B the odd ones.

    The new order is [protected, unmerged of A, B].

    Args:
        metric: (B, n, c).
        r: tokens to merge; no more than half of the unprotected ones can be.
        protected: tokens in front that neither merge nor are merged into: 1 for a class token, 2 with a distillation
            token behind it.
        order: of the unmerged tokens of A.
    """
    n = metric.shape[1]
    r = min(r, (n - protected) // 2)
    first_a, first_b = protected + protected % 2, protected + 1 - protected % 2
    metric = F.normalize(metric, dim=-1)
    scores, nearest = (metric[:, first_a::2] @ metric[:, first_b::2].mT).max(dim=-1)  # (B, |A|)
    falling = scores.argsort(dim=-1, descending=True, stable=True)
    merged, unmerged = falling[:, :r], falling[:, r:]
    if order == "position":
        unmerged = unmerged.sort(dim=-1).values
    front, b = torch.arange(protected, device=metric.device), torch.arange(first_b, n, 2, device=metric.device)
    kept = torch.cat([front.expand(metric.shape[0], -1), first_a + 2 * unmerged, b.expand(metric.shape[0], -1)], dim=1)
    return Matching(n, kept, first_a + 2 * merged, protected + unmerged.shape[1] + nearest.gather(1, merged))


@torch.no_grad()
def kth_soft_matching(metric: Tensor, k: int) -> Matching:
    """Merge all but every k-th token into the nearest of these: (B, n, c); the n % k tokens at the end are dropped.

    Raises:
        ValueError: if k is not from 2 to n.
    """
    if not 2 <= k <= metric.shape[1]:
        raise ValueError(f"k={k}; expected 2 to the number of tokens, {metric.shape[1]}")
    n = metric.shape[1] // k * k
    positions = torch.arange(n, device=metric.device)
    is_kept = positions % k == k - 1
    found = _all_into_nearest(metric, n, positions[~is_kept].expand(metric.shape[0], -1), positions[is_kept])
    return replace(found, n_dropped=metric.shape[1] - n)


@torch.no_grad()
def random_soft_matching(metric: Tensor, r: int, draws: Tensor) -> Matching:
    """Merge the r tokens with the smallest draws into the nearest of the others: (B, n, c).

    Args:
        draws: (B, n), such as uniform numbers; they also order what stays.

    Raises:
        ValueError: if r does not leave a token.
    """
    if not 0 <= r < metric.shape[1]:
        raise ValueError(f"r={r}; expected 0 to one less than the number of tokens, {metric.shape[1]}")
    drawn = draws.argsort(dim=-1, stable=True)
    return _all_into_nearest(metric, metric.shape[1], drawn[:, :r], drawn[:, r:])


def _all_into_nearest(metric: Tensor, n: int, source: Tensor, kept: Tensor) -> Matching:
    """Every source (B, m) merges into the nearest of those kept, (B, n') or (n',)."""
    kept = kept.expand(metric.shape[0], -1)
    metric = F.normalize(metric, dim=-1)
    scores = rows_at(metric, source) @ rows_at(metric, kept).mT  # (B, m, n')
    return Matching(n, kept, source, scores.argmax(dim=-1))


@torch.no_grad()
def fold_matching(metric: Tensor, kept: Tensor, protected: int = 1) -> Matching:
    """Merge all tokens but the kept ones into the nearest of these.

    Args:
        metric: (B, n, c).
        kept: (B, n') int64 in ascending order, the protected tokens in front; nothing merges into those.
    """
    is_dropped = torch.ones(metric.shape[:2], device=metric.device).scatter(1, kept, 0)
    source = is_dropped.argsort(dim=-1, descending=True, stable=True)[:, : metric.shape[1] - kept.shape[1]]
    found = _all_into_nearest(metric, metric.shape[1], source, kept[:, protected:])
    return Matching(metric.shape[1], kept, source, protected + found.target)


def merge(matching: Matching, x: Tensor, reduce: Reduce = "mean") -> Tensor:
    """Tokens (B, n, C) -> (B, n', C): a token becomes the mean, sum or maximum of itself and all that merge into it."""
    kept, source = rows_at(x, matching.kept), rows_at(x, matching.source)
    if reduce == "amax":
        target = matching.target[:, :, None].expand_as(source)
        return kept.scatter_reduce(1, target, source, "amax", include_self=True)
    places = torch.arange(kept.shape[1], device=x.device)
    into = (matching.target[:, None, :] == places[:, None]).to(x.dtype)  # (B, n', m), a one where m merges into n'
    with torch.autocast(x.device.type, enabled=False):  # Tokens keep their precision.
        total = torch.baddbmm(kept, into, source)
    return total / (1 + into.sum(dim=-1, keepdim=True)) if reduce == "mean" else total


def merge_weighted(matching: Matching, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Tokens (B, n, C) and their sizes (B, n, 1), None for ones -> averages weighted by sizes, and the new sizes."""
    sizes = torch.ones_like(x[..., :1]) if sizes is None else sizes.to(x.dtype)
    sums = merge(matching, torch.cat([x * sizes, sizes], dim=-1), "sum")  # of m x and of m
    return sums[..., :-1] / sums[..., -1:], sums[..., -1:]


def merge_sources(matching: Matching, sources: Tensor | None = None) -> Tensor:
    """Which of N first tokens each token is made of: (B, n, N) of zeros and ones, None at first -> (B, n', N)."""
    if sources is None:
        own = torch.eye(matching.n_before + matching.n_dropped, device=matching.kept.device)
        sources = own.expand(matching.kept.shape[0], -1, -1)
    return merge(matching, sources, "amax")


def unmerge(matching: Matching, x: Tensor) -> Tensor:
    """Tokens behind a merge (B, n', C) -> what stands for every token of before (B, n, C)."""
    return rows_at(x, matching.new_places())
