"""How well records were linked and clustered, with intervals by bootstrap over their groups.

Groups are drawn with replacement. A group that is drawn m times counts m times with its own records' numbers, and each
pair of records of two groups as often as the product of theirs; copies of a group make no pairs with each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from adaptkit.heads.multimodal_linking import (
    Agreed,
    adjusted_rand,
    b_cubed,
    normalised_mutual_information,
    pairwise,
)
from adaptkit.heads.multimodal_linking.metrics import agreed_of, contingency, rand_of

Interval = tuple[float, float]


@dataclass(frozen=True)
class LinkScores:
    """Scores from 0 to 1; of clusters None where records were only ranked, of links None where none has a partner."""

    records: int
    groups: int
    top1: float | None  # share of records with a partner whose nearest other record is of their group
    ari: float | None = None
    nmi: float | None = None
    pairs: Agreed | None = None
    b_cubed: Agreed | None = None


def link_scores(groups: Tensor, asks: Tensor, right: Tensor, clusters: Tensor | None = None) -> LinkScores:
    """Scores of N records with groups (N,).

    Args:
        asks: (Q,) places of records that have a partner; right: (Q,) bool, whether they found one first.
        clusters: (N,), or None where there are none.
    """
    top1 = float(right.double().mean()) if len(asks) else None
    counts = {"records": len(groups), "groups": len(groups.unique()), "top1": top1}
    if clusters is None:
        return LinkScores(**counts)  # type: ignore[arg-type]
    return LinkScores(
        **counts,  # type: ignore[arg-type]
        ari=adjusted_rand(clusters, groups),
        nmi=normalised_mutual_information(clusters, groups),
        pairs=pairwise(clusters, groups),
        b_cubed=b_cubed(clusters, groups),
    )


def bootstrap_intervals(
    groups: Tensor,
    asks: Tensor,
    right: Tensor,
    clusters: Tensor | None = None,
    *,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Mapping[str, Interval]:
    """Intervals of "top1", "ari", "pairs_f1" and "b_cubed_f1" over draws of groups; arguments as of `link_scores`.

    Raises:
        ValueError: if there are no draws, or the level is not between 0 and 1.
    """
    if draws < 1 or not 0 < level < 1:
        raise ValueError(f"draws={draws}, level={level}; expected 1 draw or more, and a level between 0 and 1")
    _, group = groups.unique(return_inverse=True)
    count = int(group.max()) + 1
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(count, (draws, count), generator=generator)
    times = torch.zeros(draws, count, dtype=torch.float64)
    times.scatter_add_(1, drawn, torch.ones_like(times))
    found = {}
    if len(asks):
        hits = times @ _sums(right.double(), group[asks], count)
        asked = times @ _sums(torch.ones(len(asks)).double(), group[asks], count)
        found["top1"] = (hits / asked)[asked > 0]
    if clusters is not None:
        found |= _cluster_scores(clusters, group, times)
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    intervals = {}
    for name, values in found.items():
        low, high = torch.quantile(values, ends).tolist()
        intervals[name] = (low, high)
    return intervals


def _cluster_scores(clusters: Tensor, group: Tensor, times: Tensor) -> dict[str, Tensor]:
    """ARI and both F1 (R,) of each of R draws, in which each of G groups counts so many times (R, G)."""
    draws, count = times.shape
    _, cluster = clusters.unique(return_inverse=True)
    cells, common = torch.stack([cluster, group]).unique(dim=1, return_counts=True)
    common = common.double()
    sizes = group.bincount(minlength=count).double()
    of_cluster = torch.zeros(draws, int(cluster.max()) + 1, dtype=torch.float64)  # records of each cluster, drawn
    of_cluster.index_add_(1, cells[0], times[:, cells[1]] * common)
    tp = times @ _sums(common * (common - 1) / 2, cells[1], count)
    within = times @ (sizes * (sizes - 1) / 2)
    fp = (of_cluster.square().sum(dim=1) - times.square() @ _sums(common.square(), cells[1], count)) / 2
    across = ((times @ sizes).square() - times.square() @ sizes.square()) / 2
    counts = torch.stack([tp, fp, within - tp, across - fp], dim=1).tolist()
    table = contingency(clusters, group)
    by_cell = [_sums(table[:, 0] ** 2 / table[:, part], _groups_of(clusters, group), count) for part in (1, 2)]
    records = times @ sizes
    b_cubed_of = [(times @ sums) / records for sums in by_cell]
    return {
        "ari": torch.tensor([rand_of(*each) for each in counts], dtype=torch.float64),
        "pairs_f1": torch.tensor([agreed_of(*each[:3]).f1 for each in counts], dtype=torch.float64),
        "b_cubed_f1": 2 * b_cubed_of[0] * b_cubed_of[1] / (b_cubed_of[0] + b_cubed_of[1]),
    }


def _groups_of(clusters: Tensor, group: Tensor) -> Tensor:
    """The group of each cell of `contingency`."""
    _, cluster = clusters.unique(return_inverse=True)
    return torch.stack([cluster, group]).unique(dim=1)[1]


def _sums(values: Tensor, group: Tensor, count: int) -> Tensor:
    """Sums (G,) of values (K,) by group (K,)."""
    return torch.zeros(count, dtype=torch.float64).index_add_(0, group, values)
