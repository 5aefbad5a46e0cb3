"""Single linkage: records are one cluster if a chain of near pairs joins them.

Released CLIPPINGS clusters by DBSCAN with eps = t and one record as a core, on cosine distances. These are the
connected components of the graph of all pairs at distance t or less, and so what is left of the minimum spanning tree
without its edges beyond t: one tree, of N - 1 edges, has the clusters of every threshold.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

ROUNDING = 1e-6  # of a cosine in single precision: a pair at a threshold is linked whichever side it was rounded to


@dataclass(frozen=True)
class SpanningTree:
    """The edges of a minimum spanning tree over N records, the shortest first."""

    first: Tensor  # (N - 1,) int64, places of records
    second: Tensor  # (N - 1,)
    distance: Tensor  # (N - 1,) float64, 1 - cosine
    count: int  # N


@torch.no_grad()
def spanning_tree(vectors: Tensor) -> SpanningTree:
    """The tree over vectors (N, D), not normalised; N steps of N distances each, in double precision.

    Raises:
        ValueError: if they are no rows, or a number is not finite.
    """
    if vectors.ndim != 2 or not vectors.isfinite().all():
        raise ValueError(f"vectors {tuple(vectors.shape)} are not finite rows (N, D); check what encoded them")
    rows = F.normalize(vectors.double(), dim=1)
    count = len(rows)
    nearest = torch.full((count,), torch.inf, dtype=torch.float64, device=rows.device)
    towards = torch.zeros(count, dtype=torch.long, device=rows.device)
    inside = torch.zeros(count, dtype=torch.bool, device=rows.device)
    edges: list[tuple[int, int, float]] = []
    newest = 0
    for _ in range(count - 1):
        inside[newest] = True
        distance = 1 - rows @ rows[newest]
        closer = distance < nearest
        nearest[closer], towards[closer] = distance[closer], newest
        outside = nearest.masked_fill(inside, torch.inf)
        newest = int(outside.argmin())
        edges.append((int(towards[newest]), newest, float(nearest[newest])))
    edges.sort(key=lambda edge: edge[2])
    first, second, length = zip(*edges, strict=True) if edges else ((), (), ())
    return SpanningTree(
        torch.tensor(first, dtype=torch.long),
        torch.tensor(second, dtype=torch.long),
        torch.tensor(length, dtype=torch.float64),
        count,
    )


def clusters_of(tree: SpanningTree, threshold: float) -> Tensor:
    """The cluster of each record (N,) int64, numbered in the order in which their first records stand."""
    parent = list(range(tree.count))
    kept = tree.distance <= threshold + ROUNDING
    for one, other in zip(tree.first[kept].tolist(), tree.second[kept].tolist(), strict=True):
        one, other = root_of(parent, one), root_of(parent, other)
        parent[max(one, other)] = min(one, other)
    numbers: dict[int, int] = {}
    roots = [root_of(parent, place) for place in range(tree.count)]
    return torch.tensor([numbers.setdefault(root, len(numbers)) for root in roots], dtype=torch.long)


def root_of(parent: list[int], place: int) -> int:
    """The record that stands for the cluster of another one; the way there is shortened."""
    while parent[place] != place:
        parent[place] = parent[parent[place]]
        place = parent[place]
    return place


def single_linkage(vectors: Tensor, threshold: float) -> Tensor:
    """Clusters (N,) int64 of vectors (N, D): connected components of pairs at cosine distance `threshold` or less.

    A record that nothing is near to is a cluster by itself.

    Example:
        ```python
        import torch

        from adaptkit.heads.multimodal_linking import single_linkage

        assert single_linkage(torch.tensor([[1.0, 0], [0.6, 0.8], [0, 1]]), threshold=0.4).tolist() == [0, 0, 0]
        ```
    """
    return clusters_of(spanning_tree(vectors), threshold)
