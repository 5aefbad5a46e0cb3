"""The protocol of linking: images alone, texts alone, both pooled, by a trained head, and ranked again by tokens.

Weight and threshold are chosen on validation records, whose groups are not among those that are tested.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from adaptkit.heads import MultimodalLinking
from adaptkit.heads.multimodal_linking import (
    RecordFeatures,
    RecordTokens,
    TunedPooling,
    matcher_scores,
    pooled,
    reranked,
    single_linkage,
    tune_pooling,
)
from adaptkit.heads.multimodal_linking.metrics import nearest_is_linked
from trainers.evaluation.linking import Interval, LinkScores, bootstrap_intervals, link_scores

SHORTLIST = 100
BETAS = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # of the matcher's scores beside cosines
Part = tuple[RecordFeatures, Tensor]  # records and their groups (N,)


@dataclass(frozen=True)
class ProtocolRow:
    """One way to link, with what was chosen for it on validation records, and its scores on test records."""

    way: str
    weight: float | None  # of images; None where each record has its own
    threshold: float | None  # None where records were only ranked
    scores: LinkScores
    intervals: Mapping[str, Interval]


def protocol(
    val: Part, test: Part, head: MultimodalLinking | None = None, *, draws: int = 1000, seed: int = 0
) -> list[ProtocolRow]:
    """The rows for images, texts, both pooled, and a trained head.

    A record that lacks what a row looks at is compared by what it has.

    Args:
        head: with a threshold; None leaves its row out.
        draws: of the bootstrap over groups; seed: of its draws.

    Raises:
        ValueError: if the head has no threshold.
    """
    ways = {"image only": (1.0,), "text only": (0.0,), "pooled": None}
    rows = []
    for way, weights in ways.items():
        chosen = tuned(val) if weights is None else tune_pooling(*val, weights)
        rows.append(_row(way, pooled(test[0], chosen.weight), test[1], chosen.weight, chosen.threshold, draws, seed))
    if head is not None:
        threshold = head.threshold
        if threshold is None:
            raise ValueError("the head has no threshold; train it with `train_linking`, or set one with set_threshold")
        with torch.no_grad():
            vectors = head.vectors(test[0])
            weight = head.weight_of(head.adapted(test[0].to(head.device)))
        rows.append(
            _row("trained head", vectors, test[1], None if weight.ndim else float(weight), threshold, draws, seed)
        )
    return rows


def tuned(val: Part) -> TunedPooling:
    """Weight and threshold of pooled records without any training."""
    return tune_pooling(*val)


def _row(
    way: str, vectors: Tensor, groups: Tensor, weight: float | None, threshold: float, draws: int, seed: int
) -> ProtocolRow:
    vectors, groups = vectors.cpu(), groups.cpu()
    found = (groups, *nearest_is_linked(vectors, groups), single_linkage(vectors, threshold))
    return ProtocolRow(way, weight, threshold, link_scores(*found), bootstrap_intervals(*found, draws=draws, seed=seed))


@dataclass(frozen=True)
class Shortlists:
    """The records nearest to each record that has a partner, with both scores."""

    groups: Tensor  # (N,)
    asks: Tensor  # (Q,) places of the records that ask
    places: Tensor  # (Q, K) their candidates, the nearest first
    similar: Tensor  # (Q, K) cosines
    scores: Tensor  # (Q, K) of the matcher

    def right(self, beta: float) -> Tensor:
        """(Q,) whether the first candidate is of the group when both scores are added."""
        first = reranked(self.similar, self.scores, beta)[:, :1]
        return self.groups[self.places.gather(1, first)[:, 0]] == self.groups[self.asks]


@torch.no_grad()
def shortlists(
    head: MultimodalLinking, records: RecordFeatures, tokens: RecordTokens, groups: Tensor, most: int = SHORTLIST
) -> Shortlists:
    """Candidates by the head's vectors, at most so many for each record, scored by its matcher.

    Raises:
        ValueError: if the head has no matcher.
    """
    if head.matcher is None:
        raise ValueError("the head has no matcher; make it with tokens=True")
    groups = groups.cpu()
    vectors = head.vectors(records)
    asks = (groups.bincount()[groups] > 1).nonzero()[:, 0]
    similar = vectors[asks.to(vectors.device)] @ vectors.T
    similar.scatter_(1, asks[:, None].to(vectors.device), -torch.inf)
    best = similar.topk(min(most, len(groups) - 1), dim=1)
    scores = matcher_scores(head.matcher, tokens.at(asks.to(vectors.device)), tokens, best.indices)
    return Shortlists(groups, asks, best.indices.cpu(), best.values.cpu(), scores.cpu())


def tune_rerank(head: MultimodalLinking, found: Shortlists) -> float:
    """Give the head the weight of its matcher that links most validation records; the smallest of equal ones."""
    beta = max(BETAS, key=lambda one: (float(found.right(one).double().mean()), -one))
    head.rerank_weight.fill_(beta)
    return beta


def rerank_row(head: MultimodalLinking, found: Shortlists, *, draws: int = 1000, seed: int = 0) -> ProtocolRow:
    """The row of a head whose shortlists of test records its matcher has ranked again; links alone, no clusters."""
    right = found.right(float(head.rerank_weight))
    scores = link_scores(found.groups, found.asks, right)
    intervals = bootstrap_intervals(found.groups, found.asks, right, draws=draws, seed=seed)
    return ProtocolRow("+ token re-rank", None, None, scores, intervals)
