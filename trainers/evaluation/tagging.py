"""Scores of taggers: how high each tag ranks the images that have it."""

import torch
from torch import Tensor


def average_precisions(scores: Tensor, targets: Tensor) -> Tensor:
    """Average precision (T,) of every tag over N images, from 0 to 1; not a number for a tag that no image has.

    The precision at the place of each image that has the tag, averaged; images of one score keep their order.

    Args:
        scores: (N, T), higher where a tag is more likely.
        targets: (N, T), 1 or True where an image has a tag.

    Raises:
        ValueError: if the shapes differ.
    """
    if scores.shape != targets.shape or scores.ndim != 2:
        raise ValueError(f"scores {tuple(scores.shape)} and targets {tuple(targets.shape)}; expected (N, T) of both")
    order = scores.argsort(dim=0, descending=True, stable=True)
    hits = targets.bool().gather(0, order).double()
    places = torch.arange(1, len(scores) + 1, device=scores.device, dtype=hits.dtype)[:, None]
    return (hits * hits.cumsum(dim=0) / places).sum(dim=0) / hits.sum(dim=0)


def mean_average_precision(scores: Tensor, targets: Tensor) -> float:
    """The mean of `average_precisions` over the tags that an image has, in percent.

    Raises:
        ValueError: if the shapes differ, or no image has a tag.
    """
    found = average_precisions(scores, targets)
    if bool(found.isnan().all()):
        raise ValueError("no image has any of the tags, so there is nothing to rank; give images with tags")
    return 100 * float(found.nanmean())
