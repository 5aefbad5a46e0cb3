"""The parts of a class's score that belong to its descriptors; they sum to the score."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from adaptkit.contract.reasons import Reason, Reasons
from adaptkit.texts.classify_by_description.config import Aggregate


def class_scores(cosines: Tensor, counts: Sequence[int], aggregate: Aggregate) -> Tensor:
    """Scores (B, C) of classes from cosines (B, N) with their phrases, class by class.

    Args:
        counts: phrases of each of the C classes, N all in all.
    """
    of_each = cosines.split(list(counts), dim=1)
    if aggregate == "max":
        return torch.stack([own.amax(dim=1) for own in of_each], dim=1)
    return torch.stack([own.sum(dim=1) if aggregate == "sum" else own.mean(dim=1) for own in of_each], dim=1)


@dataclass(frozen=True)
class Parts:
    """N phrases: the class that each belongs to (N,), its weight (N,) and its unit feature (N, D)."""

    owners: Tensor
    weights: Tensor
    features: Tensor

    def of_sums(self, cosines: Tensor) -> Tensor:
        """Factors (B, N) that make cosines (B, N) into contributions to a weighted sum."""
        return self.weights.to(cosines).expand_as(cosines)

    def of_the_largest(self, cosines: Tensor) -> Tensor:
        """Factors (B, N) where the largest cosine of a class is its score and the others count nothing."""
        factors = torch.zeros_like(cosines)
        for label in self.owners.unique():
            own = (self.owners == label).nonzero().flatten()
            largest = own[cosines[:, own].argmax(dim=1)]  # (B,)
            factors.scatter_(1, largest[:, None], 1)
        return factors

    def lengths(self) -> Tensor:
        """Lengths (C,) of the weighted sums of features, by which a renormalised mean is divided."""
        sums = self.features.new_zeros(int(self.owners.max()) + 1, self.features.shape[1])
        return sums.index_add(0, self.owners, self.weights.to(self.features)[:, None] * self.features).norm(dim=-1)


def reasons(
    scores: Tensor,
    cosines: Tensor,
    factors: Tensor,
    owners: Tensor,
    classnames: Sequence[str],
    said: Sequence[str],
    topk: int,
    usual: Tensor | None,
) -> list[list[Reasons]]:
    """Reasons of the `topk` best classes of B images.

    Args:
        scores: (B, C).
        cosines, factors: (B, N); their products are the contributions.
        said: the N phrases in the words of their file.
        usual: mean cosines (N,) of reference images.
    """
    explained: list[list[Reasons]] = []
    for row, own_scores in enumerate(scores):
        best = own_scores.topk(min(topk, len(classnames))).indices.tolist()
        explained.append([])
        for label in best:
            parts = [
                Reason(
                    said[place],
                    float(cosines[row, place]),
                    float(cosines[row, place] * factors[row, place]),
                    None if usual is None else float(cosines[row, place] - usual[place]),
                )
                for place in (owners == label).nonzero().flatten().tolist()
            ]
            parts.sort(key=lambda part: part.cosine, reverse=True)
            explained[-1].append(Reasons(classnames[label], label, float(own_scores[label]), tuple(parts)))
    return explained
