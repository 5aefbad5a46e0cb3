"""Scores of composed image retrieval: recalls in the gallery and in subsets, and mean average precision.

Ranks count as everywhere (`trainers.evaluation.retrieval`): by cosine in double precision, and ties against the model.
Of several targets, the first that is found counts for recalls; mAP@k divides by min(k, number of targets), as CIRCO's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.evaluation.retrieval import TIE, RetrievalScores, scores_of, unit

SUBSET_RECALL_AT = (1, 2, 3)


@dataclass(frozen=True)
class ComposedScores:
    """How well composed queries find their targets; shares in percent."""

    recall: Mapping[int, float]  # k -> queries with a target among the first k
    mean_average_precision: Mapping[int, float]  # k -> mAP@k; empty where none is asked for
    subset_recall: Mapping[int, float]  # k -> the same among the images of the query's subset; empty without subsets
    median_rank: float  # of the first target, counted from 1
    queries: int


@torch.no_grad()
def composed_scores(
    queries: Tensor,
    gallery: Tensor,
    targets: Sequence[Sequence[int]],
    *,
    hidden: Sequence[int | None] | None = None,
    subsets: Sequence[Sequence[int]] | None = None,
    recall_at: Sequence[int] = (1, 5, 10, 50),
    precision_at: Sequence[int] = (),
    chunk: int = 1024,
) -> ComposedScores:
    """How well queries (Q, D) find their targets in a gallery (N, D).

    Args:
        targets: places in the gallery that each query means, one or more.
        hidden: a place for each query that is left out of its ranking, such as that of its own image; None for none.
        subsets: places for each query that targets are looked for among, too; queries without any are left out of it.
        recall_at, precision_at: every k.
        chunk: queries that are compared together.

    Raises:
        ValueError: if shapes do not belong together, a number is not finite, a query has no target, or a place is not
            in the gallery.

    Example:
        ```python
        from trainers.evaluation.composed import composed_scores

        gallery = torch.eye(4)
        scores = composed_scores(gallery[:2], gallery, [[0], [1, 2]], precision_at=(5,))
        assert scores.recall[1] == 100
        ```
    """
    lists = [targets, *(given for given in (hidden, subsets) if given is not None)]
    _check(queries, gallery, lists)
    whole: list[tuple[int, int]] = []  # query and wrong answers before a target of it, for every target
    small: list[tuple[int, int]] = []  # the same within subsets
    columns = unit(gallery, gallery).T
    for start in range(0, len(queries), chunk):
        cosines = (unit(queries[start : start + chunk], gallery) @ columns).cpu()
        for row, scores in enumerate(cosines):
            query = start + row
            right = torch.tensor(list(targets[query]))
            least = scores[right] - TIE  # (T,)
            wrong = torch.ones(len(gallery), dtype=torch.bool)
            wrong[right] = False
            own = None if hidden is None else hidden[query]
            if own is not None:
                wrong[own] = False
            whole += [(query, before) for before in (scores[wrong] >= least[:, None]).sum(dim=1).tolist()]
            if subsets is not None and len(subsets[query]):
                among = torch.zeros_like(wrong)
                among[list(subsets[query])] = True
                nearer = scores[wrong & among] >= least[:, None]
                small += [(query, before) for before in nearer.sum(dim=1).tolist()]
    found = _scores(whole, recall_at, precision_at)
    in_subsets = _scores(small, SUBSET_RECALL_AT, ()).recall if small else {}
    return ComposedScores(found.recall, found.mean_average_precision, in_subsets, found.median_rank, found.queries)


def _scores(pairs: Sequence[tuple[int, int]], recall_at: Sequence[int], precision_at: Sequence[int]) -> RetrievalScores:
    query, before = torch.tensor(pairs).T.numpy()
    return scores_of(query, before, recall_at, precision_at)


def mean_of(scores: Sequence[ComposedScores]) -> ComposedScores:
    """Means over sets, such as the categories of FashionIQ, each set alike; `queries` counts those of all."""

    def means(rows: Sequence[Mapping[int, float]]) -> dict[int, float]:
        return {k: sum(row[k] for row in rows) / len(rows) for k in rows[0]}

    return ComposedScores(
        means([one.recall for one in scores]),
        means([one.mean_average_precision for one in scores]),
        means([one.subset_recall for one in scores]),
        sum(one.median_rank for one in scores) / len(scores),
        sum(one.queries for one in scores),
    )


def _check(queries: Tensor, gallery: Tensor, lists: Sequence[Sequence[object]]) -> None:
    for name, features in (("queries", queries), ("gallery", gallery)):
        if features.ndim != 2 or not features.numel():
            raise ValueError(f"{name} has shape {tuple(features.shape)}; expected (rows, width), one row at least")
        if not features.is_floating_point() or not features.isfinite().all():
            raise ValueError(f"{name} ({features.dtype}) holds numbers that are not finite floats; check the model")
    if queries.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"queries are {queries.shape[1]} wide and the gallery {gallery.shape[1]}; give both of one model"
        )
    for given in lists:
        if len(given) != len(queries):
            raise ValueError(f"{len(given)} lists of places for {len(queries)} queries; give one for each query")
    for query, right in enumerate(lists[0]):
        if not isinstance(right, Sequence) or not right:
            raise ValueError(f"query {query} has no target; give one or more, or leave the query out")
    places = [place for given in lists for own in given for place in (own if isinstance(own, Sequence) else [own])]
    wrong = [place for place in places if isinstance(place, int) and not 0 <= place < len(gallery)]
    if wrong:
        raise ValueError(f"place {wrong[0]} is not in the gallery of {len(gallery)}; expected 0 to {len(gallery) - 1}")
