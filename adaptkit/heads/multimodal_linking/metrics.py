"""How well clusters are the groups that records belong to: exact, from counts.

A pair is two different records. With TP pairs of one cluster and one group, FP of one cluster and two groups, FN of two
clusters and one group, TN the others, all in double precision:
    precision = TP / (TP + FP),  recall = TP / (TP + FN)         1 where there is no such pair
    ARI = 2 (TP TN - FP FN) / ((TP + FN)(FN + TN) + (TP + FP)(FP + TN))        Hubert and Arabie's, 1 where it is 0 / 0
    NMI = I(clusters; groups) / mean of both entropies           1 where both are one cluster
    B-cubed: the means over records of |cluster and group| / |cluster| and / |group|
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Agreed:
    """Precision, recall and their harmonic mean, from 0 to 1."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def contingency(clusters: Tensor, groups: Tensor) -> Tensor:
    """Records of each cluster in each group that share some: (K, 3) float64 of common, cluster's and group's sizes.

    Raises:
        ValueError: if there are no records, or not as many of both.
    """
    if clusters.shape != groups.shape or clusters.ndim != 1 or not len(clusters):
        raise ValueError(
            f"clusters {tuple(clusters.shape)} and groups {tuple(groups.shape)} do not belong together; expected (N,) "
            "of each, of one record or more"
        )
    _, cluster = clusters.unique(return_inverse=True)
    _, group = groups.unique(return_inverse=True)
    pairs, common = torch.stack([cluster, group]).unique(dim=1, return_counts=True)
    return torch.stack([common, cluster.bincount()[pairs[0]], group.bincount()[pairs[1]]], dim=1).double()


def pair_counts(clusters: Tensor, groups: Tensor) -> tuple[float, float, float, float]:
    """TP, FP, FN and TN over the pairs of records with clusters (N,) and groups (N,)."""
    common, of_cluster, of_group = contingency(clusters, groups).unbind(dim=1)
    count = len(clusters)
    # Every cell names its cluster again, so the pairs of a cluster are shared among its cells by their sizes.
    together = float((common * (common - 1)).sum() / 2)
    clustered = float((common * (of_cluster - 1)).sum() / 2)
    grouped = float((common * (of_group - 1)).sum() / 2)
    return together, clustered - together, grouped - together, count * (count - 1) / 2 - clustered - grouped + together


def rand_of(tp: float, fp: float, fn: float, tn: float) -> float:
    """The adjusted Rand index from counts of pairs."""
    if fp == 0 and fn == 0:
        return 1.0
    return 2 * (tp * tn - fn * fp) / ((tp + fn) * (fn + tn) + (tp + fp) * (fp + tn))


def agreed_of(tp: float, fp: float, fn: float) -> Agreed:
    """Precision and recall from counts of pairs."""
    return Agreed(tp / (tp + fp) if tp + fp else 1.0, tp / (tp + fn) if tp + fn else 1.0)


def adjusted_rand(clusters: Tensor, groups: Tensor) -> float:
    """The adjusted Rand index of clusters (N,) and groups (N,): 1 where they are the same, about 0 by chance.

    Example:
        ```python
        import torch

        from adaptkit.heads.multimodal_linking import adjusted_rand

        assert adjusted_rand(torch.tensor([0, 0, 1]), torch.tensor([5, 5, 2])) == 1
        ```
    """
    return rand_of(*pair_counts(clusters, groups))


def pairwise(clusters: Tensor, groups: Tensor) -> Agreed:
    """Precision and recall over pairs of records with clusters (N,) and groups (N,)."""
    tp, fp, fn, _ = pair_counts(clusters, groups)
    return agreed_of(tp, fp, fn)


def b_cubed(clusters: Tensor, groups: Tensor) -> Agreed:
    """B-cubed precision and recall of clusters (N,) and groups (N,): means over records (Bagga and Baldwin, 1998)."""
    common, of_cluster, of_group = contingency(clusters, groups).unbind(dim=1)
    count = len(clusters)
    return Agreed(float((common**2 / of_cluster).sum()) / count, float((common**2 / of_group).sum()) / count)


def normalised_mutual_information(clusters: Tensor, groups: Tensor) -> float:
    """NMI of clusters (N,) and groups (N,), over the arithmetic mean of their entropies."""
    common, of_cluster, of_group = contingency(clusters, groups).unbind(dim=1)
    count = len(clusters)
    mutual = float((common / count * (common * count / (of_cluster * of_group)).log()).sum())
    mean = float(-(common / count * ((of_cluster / count).log() + (of_group / count).log())).sum()) / 2
    return mutual / mean if mean > 0 else 1.0


@torch.no_grad()
def nearest_is_linked(vectors: Tensor, groups: Tensor, chunk: int = 1024) -> tuple[Tensor, Tensor]:
    """Of each record with another one of its group: whether the nearest other record is of it; ties count as wrong.

    Args:
        vectors: (N, D), not normalised.
        groups: (N,) int64.

    Returns:
        Places (Q,) of the records that have a partner, and (Q,) bool.
    """
    rows = torch.nn.functional.normalize(vectors.double(), dim=1)
    asks = (groups.bincount()[groups] > 1).nonzero()[:, 0]
    right = []
    for places in asks.split(chunk):
        similar = rows[places] @ rows.T
        similar.scatter_(1, places[:, None], -torch.inf)
        own = groups[places, None] == groups[None, :]
        best = similar.masked_fill(~own, -torch.inf).amax(dim=1)
        right.append(best > similar.masked_fill(own, -torch.inf).amax(dim=1) + 1e-12)
    return asks, torch.cat(right) if right else torch.zeros(0, dtype=torch.bool, device=groups.device)


def top1_link_accuracy(vectors: Tensor, groups: Tensor) -> float:
    """Share of the records with a partner whose nearest other record is of their group; vectors (N, D), groups (N,).

    Raises:
        ValueError: if no record has a partner.
    """
    asks, right = nearest_is_linked(vectors, groups)
    if not len(asks):
        raise ValueError(f"none of {len(groups)} records shares its group with another; there is nothing to link")
    return float(right.double().mean())
