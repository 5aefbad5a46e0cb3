"""Assignment: the attributes that an image lists, given to those of its regions that are nearest to each.

For image b, an attribute a that it lists, and the cosines of its regions:
    a goes to every region with cos[r, a] >= max_r cos[r, a] - epsilon,    epsilon = 0.2
So the best region always has it. The released code has > in place of >=, and with epsilon = 0 assigns nothing;
`strict=True` keeps that.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from adaptkit.heads.villa.losses import by_image

EPSILON = 0.2  # in cosines


@dataclass(frozen=True)
class MappingQuality:
    """How well assigned pairs of regions and attributes are the true ones, in percent over all of them together."""

    precision: float  # not a number where nothing was assigned
    recall: float  # not a number where there is nothing to find
    f1: float


def assign(cosines: Tensor, counts: Tensor, labels: Tensor, epsilon: float = EPSILON, strict: bool = False) -> Tensor:
    """Which region has which attribute: (R_1 + ... + R_B, A) bool.

    Args:
        cosines: (R_1 + ... + R_B, A) of regions with attributes, without temperature.
        counts: (B,) regions of each image.
        labels: (B, A), 1 or True where an image lists an attribute; no other is assigned in it.
        strict: > as released, in place of >=.

    Raises:
        ValueError: if the shapes do not belong together.

    Example:
        ```python
        from adaptkit.heads.villa import assign

        cosines = torch.tensor([[0.5], [0.31], [0.2]])
        assert assign(cosines, torch.tensor([3]), torch.ones(1, 1)).flatten().tolist() == [True, True, False]
        ```
    """
    if cosines.ndim != 2 or labels.shape != (len(counts), cosines.shape[1]):
        raise ValueError(
            f"cosines {tuple(cosines.shape)} of {len(counts)} images have labels {tuple(labels.shape)}; expected "
            f"({len(counts)}, {cosines.shape[-1]})"
        )
    best = by_image(cosines, counts, -torch.inf).max(dim=1).values  # (B, A)
    owner = torch.arange(len(counts), device=cosines.device).repeat_interleave(counts.to(cosines.device))
    bound = best[owner] - epsilon
    near = cosines > bound if strict else cosines >= bound
    return near & labels.to(cosines.device).bool()[owner]


def mapping_quality(assigned: Tensor, truth: Tensor) -> MappingQuality:
    """Precision, recall and F1 of assigned pairs, (R, A) bool, against the true ones, (R, A) bool.

    Raises:
        ValueError: if the shapes differ.
    """
    if assigned.shape != truth.shape:
        raise ValueError(f"assigned {tuple(assigned.shape)} and truth {tuple(truth.shape)}; expected one shape")
    assigned, truth = assigned.bool(), truth.to(assigned.device).bool()
    right, given, true = (float(pairs.sum()) for pairs in (assigned & truth, assigned, truth))
    nan = float("nan")
    return MappingQuality(
        100 * right / given if given else nan,
        100 * right / true if true else nan,
        200 * right / (given + true) if given + true else nan,
    )
