"""CLIP-blind pairs: images that CLIP takes for alike and another encoder does not.

Tong et al., "Eyes Wide Shut? Exploring the Visual Shortcomings of Multimodal LLMs", arXiv:2401.06209, find with them
what CLIP does not see. Both thresholds are from memory of the paper, and are options.

Departure: pairs are looked for among the nearest neighbours in CLIP's space, so that large folders can be searched; an
    image with more near duplicates than neighbours are looked at hides its other pairs.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class BlindPairs:
    """M pairs, the largest difference of cosines first."""

    pairs: Tensor  # (M, 2) int64, places of both images, the smaller first
    clip: Tensor  # (M,) cosines in CLIP's space
    other: Tensor  # (M,) cosines in the other encoder's


@torch.no_grad()
def blind_pairs(
    clip_feats: Tensor,
    other_feats: Tensor,
    n: int,
    hi: float = 0.95,
    lo: float = 0.6,
    *,
    neighbours: int = 20,
    chunk: int = 1024,
) -> BlindPairs:
    """At most n pairs with a cosine above hi in CLIP's space and below lo in the other one.

    Args:
        clip_feats: (N, D), not normalised.
        other_feats: (N, D') of the same images by any frozen encoder, not normalised.
        neighbours: of each image that are looked at in CLIP's space.
        chunk: images that are compared with all at a time.

    Raises:
        ValueError: if there are not as many rows of both, fewer than two, a number is not finite, or an option is out
            of its range.

    Example:
        ```python
        import torch
        from trainers.evaluation.pair_tests.blind_pairs import blind_pairs

        same, different = torch.ones(2, 4), torch.eye(2)
        assert blind_pairs(same, different, n=5).pairs.tolist() == [[0, 1]]
        ```
    """
    _check(clip_feats, other_feats, n, neighbours, chunk)
    clip = F.normalize(clip_feats.float() if clip_feats.element_size() < 4 else clip_feats, dim=-1)
    other = F.normalize(other_feats.float() if other_feats.element_size() < 4 else other_feats, dim=-1)
    other, k = other.to(clip.device), min(neighbours, len(clip) - 1)
    found = []
    for start in range(0, len(clip), chunk):
        cosines = clip[start : start + chunk] @ clip.T  # (b, N)
        rows = torch.arange(len(cosines), device=clip.device)
        cosines[rows, rows + start] = -torch.inf  # an image is no neighbour of itself
        near, place = cosines.topk(k, dim=1)  # (b, k)
        there = (other[start : start + chunk, None] * other[place]).sum(dim=-1)  # (b, k)
        row, column = ((near > hi) & (there < lo)).nonzero(as_tuple=True)
        ends = torch.stack([row + start, place[row, column]], dim=1).sort(dim=1).values
        found.append((ends, near[row, column], there[row, column]))
    pairs, near, there = (torch.cat(parts) for parts in zip(*found, strict=True))
    pairs, first = _first_of_each(pairs)
    near, there = near[first], there[first]
    order = (near - there).argsort(descending=True, stable=True)[:n]
    return BlindPairs(pairs[order].cpu(), near[order].cpu(), there[order].cpu())


def _first_of_each(pairs: Tensor) -> tuple[Tensor, Tensor]:
    """Every pair once, in their order, and the place (M,) at which each stands first."""
    different, inverse = pairs.unique(dim=0, return_inverse=True)
    places = torch.arange(len(pairs), device=pairs.device)
    first = torch.full((len(different),), len(pairs), device=pairs.device, dtype=torch.int64)
    return different, first.scatter_reduce(0, inverse, places, "amin")


def _check(clip_feats: Tensor, other_feats: Tensor, n: int, neighbours: int, chunk: int) -> None:
    for name, features in (("clip_feats", clip_feats), ("other_feats", other_feats)):
        if features.ndim != 2 or not features.is_floating_point() or not features.isfinite().all():
            raise ValueError(
                f"{name} is {features.dtype} of shape {tuple(features.shape)}; expected finite floats, (images, width)"
            )
    if len(clip_feats) != len(other_feats) or len(clip_feats) < 2:
        raise ValueError(
            f"{len(clip_feats)} rows of CLIP's features and {len(other_feats)} of the other encoder's; give a row of "
            "both for each image, in the same order, of two images at least"
        )
    if min(n, neighbours, chunk) < 1:
        raise ValueError(f"n={n}, neighbours={neighbours}, chunk={chunk}; expected 1 or more of each")
