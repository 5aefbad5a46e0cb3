"""The nearest records of an index, ranked again by their tokens: scoring all of an index by tokens would take too long.

A query's candidates are ordered by cosine + beta * score of the matcher. Of beta, 0 leaves the index's order.
"""

import torch
from torch import Tensor

from adaptkit.heads.multimodal_linking.token_matcher import RecordTokens, TokenMatcher


@torch.no_grad()
def matcher_scores(matcher: TokenMatcher, queries: RecordTokens, known: RecordTokens, places: Tensor) -> Tensor:
    """Scores (Q, K) of each query with its own candidates.

    Args:
        places: (Q, K) int64, the candidates of each query among the records `known`.

    Raises:
        ValueError: if there is not a row of places for each query.
    """
    if places.ndim != 2 or len(places) != len(queries):
        raise ValueError(f"places {tuple(places.shape)} for {len(queries)} queries; expected (Q, K)")
    was_training = matcher.training
    matcher.eval()
    rows = [
        matcher(queries.at(torch.tensor([row])), known.at(candidates)).mean[0] for row, candidates in enumerate(places)
    ]
    matcher.train(was_training)
    return torch.stack(rows)


def reranked(similar: Tensor, scores: Tensor, beta: float) -> Tensor:
    """Cosines (Q, K) and scores (Q, K) of candidates -> their order (Q, K), the best first; equal ones keep theirs."""
    return (similar + beta * scores).argsort(dim=1, descending=True, stable=True)
