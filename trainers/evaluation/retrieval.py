"""Retrieval between images and texts: recall, median rank and mean average precision, both ways.

Answers are ranked by cosine. Every image and every text is compared, a block of each at a time, in double precision.

Ties count against the model: a wrong answer as near as a right one stands before it, so that a feature that is the same
for everything finds nothing. Two cosines are as near as each other if they differ by `TIE` at most, which is above what
the order of a sum changes and below what features say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

RECALL_AT = (1, 5, 10)
PRECISION_AT = (10,)
TIE = 1e-12  # of cosines in double precision


@dataclass(frozen=True)
class RetrievalScores:
    """How well the queries of one direction find their right answers."""

    recall: Mapping[int, float]  # k -> percent of queries with a right answer among the first k
    median_rank: float  # of the first right answer, counted from 1
    mean_average_precision: Mapping[int, float]  # k -> mAP@k in percent, over min(k, number of right answers)
    queries: int


@dataclass(frozen=True)
class PairScores:
    """Scores of images and the texts that describe them, both ways."""

    text_to_image: RetrievalScores
    image_to_text: RetrievalScores
    rsum: float  # sum of the six recalls


@torch.no_grad()
def pair_scores(image_features: Tensor, text_features: Tensor, image_of_text: Tensor, chunk: int = 1024) -> PairScores:
    """How well texts find the images that they describe, and images their texts.

    An image may have several texts; it is found again by any of them. One without a text is a wrong answer to every
    text, and asks nothing.

    Args:
        image_features: (N, D), not normalised.
        text_features: (M, D), not normalised.
        image_of_text: (M,) int64, the image that each text describes.
        chunk: images, and texts, that are compared together.

    Raises:
        ValueError: if there are none, shapes do not belong together, a number is not finite, or a text describes an
            image that is not there.

    Example:
        ```python
        from trainers.evaluation.retrieval import pair_scores

        images = torch.eye(3)
        scores = pair_scores(images, images.repeat(2, 1), torch.tensor([0, 1, 2, 0, 1, 2]))
        assert scores.rsum == 600
        ```
    """
    _check(image_features, text_features, image_of_text, chunk)
    # Apple's devices have no double precision.
    own = image_of_text.to("cpu" if text_features.device.type == "mps" else text_features.device)
    nearer_images, nearer_texts = _wrong_before(image_features, text_features, own, chunk)
    every_text = np.arange(len(own))
    to_image = scores_of(every_text, nearer_images.cpu().numpy())
    to_text = scores_of(own.cpu().numpy(), nearer_texts.cpu().numpy())
    return PairScores(to_image, to_text, rsum_of(to_image, to_text))


def folds(
    image_features: Tensor, text_features: Tensor, image_of_text: Tensor, images: int = 1000, chunk: int = 1024
) -> PairScores:
    """Means over folds of so many images in their order, each with its own texts alone: the "1k" numbers of COCO's 5k.

    `queries` counts those of all folds.

    Raises:
        ValueError: as `pair_scores`, or if the images do not make whole folds.
    """
    _check(image_features, text_features, image_of_text, chunk)
    if images < 1 or len(image_features) % images:
        raise ValueError(
            f"{len(image_features)} images do not make folds of {images}; give a size that divides their number"
        )
    each = []
    for start in range(0, len(image_features), images):
        inside = ((image_of_text >= start) & (image_of_text < start + images)).nonzero()[:, 0]
        if not len(inside):
            raise ValueError(f"the fold of images {start} to {start + images - 1} has no texts; give texts of each")
        its_texts = text_features[inside.to(text_features.device)]
        its_images = image_features[start : start + images]
        each.append(pair_scores(its_images, its_texts, image_of_text[inside] - start, chunk))
    to_image = mean_scores([one.text_to_image for one in each])
    to_text = mean_scores([one.image_to_text for one in each])
    return PairScores(to_image, to_text, rsum_of(to_image, to_text))


def scores_of(
    query: np.ndarray,
    wrong_before: np.ndarray,
    recall_at: Sequence[int] = RECALL_AT,
    precision_at: Sequence[int] = PRECISION_AT,
) -> RetrievalScores:
    """Scores from the right answers of all queries.

    Args:
        query: (P,) which query each right answer belongs to.
        wrong_before: (P,) wrong answers that stand before it.
        recall_at: every k of the recalls.
        precision_at: every k of the mean average precisions.
    """
    order = np.lexsort((wrong_before, query))  # of each query, the nearest right answer first
    query, wrong_before = query[order], wrong_before[order]
    _, first, right = np.unique(query, return_index=True, return_counts=True)  # (Q,) of each query
    place = np.arange(len(query)) - np.repeat(first, right) + 1  # (P,) among its query's right answers, from 1
    rank = wrong_before + place
    best = rank[first]
    precision = {k: np.add.reduceat(np.where(rank <= k, place / rank, 0.0), first) for k in precision_at}  # (Q,)
    return RetrievalScores(
        recall={k: 100 * float((best <= k).mean()) for k in recall_at},
        median_rank=float(np.median(best)),
        mean_average_precision={k: 100 * float((own / np.minimum(k, right)).mean()) for k, own in precision.items()},
        queries=len(first),
    )


def mean_scores(scores: Sequence[RetrievalScores]) -> RetrievalScores:
    """Means over folds, with the queries of all of them."""
    return RetrievalScores(
        recall={k: float(np.mean([one.recall[k] for one in scores])) for k in RECALL_AT},
        median_rank=float(np.mean([one.median_rank for one in scores])),
        mean_average_precision={
            k: float(np.mean([one.mean_average_precision[k] for one in scores])) for k in PRECISION_AT
        },
        queries=sum(one.queries for one in scores),
    )


def rsum_of(*directions: RetrievalScores) -> float:
    """The sum of all recalls."""
    return sum(value for one in directions for value in one.recall.values())


def _wrong_before(images: Tensor, texts: Tensor, own: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    """(M,) images other than its own that a text is as near to, and (M,) texts of others that its image is as near to.

    Both come from the same blocks of cosines, (chunk, chunk) each.
    """
    least = torch.cat(
        [
            (unit(texts[start : start + chunk], own) * unit(images[at.to(images.device)], own)).sum(dim=1) - TIE
            for start, at in zip(range(0, len(own), chunk), own.split(chunk), strict=True)
        ]
    )  # (M,) cosine that a wrong answer has to have to stand before the right one
    nearer_images, nearer_texts = torch.zeros_like(own), torch.zeros_like(own)
    for start in range(0, len(images), chunk):
        block = unit(images[start : start + chunk], own)  # (n, D)
        its_texts = ((own >= start) & (own < start + len(block))).nonzero()[:, 0]
        for first in range(0, len(texts), chunk):
            part = slice(first, first + chunk)
            cosines = unit(texts[part], own) @ block.T  # (m, n)
            at = torch.arange(start, start + len(block), device=own.device)
            wrong = own[part, None] != at
            nearer_images[part] += (wrong & (cosines >= least[part, None])).sum(dim=1)
            for right in its_texts.split(chunk):
                wrong_text = own[part, None] != own[right]  # (m, r)
                nearer_texts[right] += (wrong_text & (cosines[:, own[right] - start] >= least[right])).sum(dim=0)
    return nearer_images, nearer_texts


def unit(features: Tensor, where: Tensor) -> Tensor:
    """Features (n, D) of length 1 in double precision, on another tensor's device."""
    return F.normalize(features.to(where.device).double(), dim=-1)


def _check(image_features: Tensor, text_features: Tensor, image_of_text: Tensor, chunk: int) -> None:
    for name, features in (("image_features", image_features), ("text_features", text_features)):
        if features.ndim != 2 or not features.numel():
            raise ValueError(f"{name} has shape {tuple(features.shape)}; expected (rows, width), one row at least")
        if not features.is_floating_point() or not features.isfinite().all():
            raise ValueError(f"{name} ({features.dtype}) holds numbers that are not finite floats; check the model")
    if image_features.shape[1] != text_features.shape[1]:
        raise ValueError(
            f"image features are {image_features.shape[1]} wide and text features {text_features.shape[1]}; give both "
            "of one model"
        )
    if image_of_text.shape != (len(text_features),) or image_of_text.dtype != torch.int64:
        raise ValueError(
            f"image_of_text is {image_of_text.dtype} of shape {tuple(image_of_text.shape)}; expected int64 of shape "
            f"({len(text_features)},), the image of each text"
        )
    if image_of_text.min() < 0 or image_of_text.max() >= len(image_features):
        raise ValueError(
            f"image_of_text runs from {int(image_of_text.min())} to {int(image_of_text.max())}; expected 0 to "
            f"{len(image_features) - 1}, places among the images"
        )
    if chunk < 1:
        raise ValueError(f"chunk={chunk}; expected 1 or more")
