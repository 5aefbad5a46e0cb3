"""The threshold, and the weight of images, that suit groups best: exact, over all thresholds that differ.

Clusters of single linkage change at the edges of the spanning tree alone, so N - 1 merges of clusters, the shortest
edge first, pass through all of them; each merge changes the counts of pairs by products of sizes.

Departure: released CLIPPINGS searches threshold and weight at random, up to 100,000 trials; on given records the best
    threshold is found exactly here, and weights are tried on a grid.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from adaptkit.heads.multimodal_linking.clusters import ROUNDING, root_of, spanning_tree
from adaptkit.heads.multimodal_linking.metrics import agreed_of, rand_of
from adaptkit.heads.multimodal_linking.pooling import pooled
from adaptkit.heads.multimodal_linking.records import RecordFeatures

Criterion = Literal["ari", "f1"]
WEIGHTS = tuple(step / 20 for step in range(21))


@dataclass(frozen=True)
class TunedThreshold:
    """A cosine distance up to which records are linked, and the score that it has on the records that chose it."""

    threshold: float
    score: float


@dataclass(frozen=True)
class TunedPooling:
    """A weight of images with its threshold, and the score of both on the records that chose them."""

    weight: float
    threshold: float
    score: float


def tune_threshold(vectors: Tensor, groups: Tensor, criterion: Criterion = "ari") -> TunedThreshold:
    """The threshold of single linkage with the best score on records whose groups are known; choose on validation data.

    Half way between the last pair that it links and the first that it does not, so that it holds for other records too;
    of several equal scores the smallest threshold.

    Args:
        vectors: (N, D), not normalised.
        groups: (N,) int64.
        criterion: adjusted Rand index, or F1 over pairs.

    Raises:
        ValueError: if there are fewer than two records, or not as many groups.

    Example:
        ```python
        import torch

        from adaptkit.heads.multimodal_linking import tune_threshold

        tuned = tune_threshold(torch.tensor([[1.0, 0.1], [1, 0], [0, 1]]), torch.tensor([0, 0, 1]))
        assert tuned.score == 1
        ```
    """
    if groups.shape != vectors.shape[:1] or len(groups) < 2:
        raise ValueError(
            f"vectors {tuple(vectors.shape)} and groups {tuple(groups.shape)}; give two records or more, and a group "
            "for each"
        )
    tree = spanning_tree(vectors)
    sizes = groups.unique(return_counts=True)[1]
    pairs, of_groups = len(groups) * (len(groups) - 1) / 2, float((sizes * (sizes - 1)).sum()) / 2
    members = [Counter([group]) for group in groups.tolist()]
    parent = list(range(len(groups)))
    together = clustered = 0.0

    def score() -> float:
        fp, fn = clustered - together, of_groups - together
        return (
            rand_of(together, fp, fn, pairs - together - fp - fn)
            if criterion == "ari"
            else agreed_of(together, fp, fn).f1
        )

    lengths = tree.distance.clamp(min=0).tolist()
    best, threshold = score(), lengths[0] / 2
    for edge, (one, other) in enumerate(zip(tree.first.tolist(), tree.second.tolist(), strict=True)):
        small, large = sorted((root_of(parent, one), root_of(parent, other)), key=lambda root: len(members[root]))
        clustered += members[small].total() * members[large].total()
        together += sum(count * members[large][group] for group, count in members[small].items())
        members[large].update(members[small])
        members[small] = Counter()
        parent[small] = large
        beyond = lengths[edge + 1] if edge + 1 < len(lengths) else lengths[edge]
        is_last = edge + 1 == len(lengths)
        if (is_last or beyond - lengths[edge] > 2 * ROUNDING) and score() > best:
            best, threshold = score(), (lengths[edge] + beyond) / 2
    return TunedThreshold(threshold, best)


def tune_pooling(
    records: RecordFeatures, groups: Tensor, weights: Sequence[float] = WEIGHTS, criterion: Criterion = "ari"
) -> TunedPooling:
    """The weight of images and the threshold with the best score on records whose groups (N,) are known.

    Of several equal scores the weight nearest to a half.

    Args:
        weights: that are tried, from 0, the texts alone, to 1, the images alone.
    """
    tried = [(weight, tune_threshold(pooled(records, weight), groups, criterion)) for weight in weights]
    weight, tuned = max(tried, key=lambda one: (one[1].score, -abs(one[0] - 0.5)))
    return TunedPooling(weight, tuned.threshold, tuned.score)


def group_numbers(names: Sequence[str]) -> Tensor:
    """Names of groups -> numbers (N,) int64, in the order in which the names come."""
    numbers: dict[str, int] = {}
    return torch.tensor([numbers.setdefault(name, len(numbers)) for name in names], dtype=torch.long)
