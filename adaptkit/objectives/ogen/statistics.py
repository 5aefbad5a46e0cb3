"""What OGEN knows of the image features of the training classes: their means, their spread, and who lies near whom.

    F_known(c) = mu_c + r * sigma_c,    N(c) = the k classes j != c with the largest mu_c . mu_j
of unit image features of the frozen tower.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.layers.full_precision import at_least_fp32

Noise = Literal["gaussian", "uniform"]


def class_statistics(features: Tensor, labels: Tensor, n_classes: int) -> tuple[Tensor, Tensor]:
    """Means and standard deviations (C, D) of classes' unit image features; a class of one image has no spread.

    Args:
        features: (N, D), of any length.
        labels: (N,) int64.

    Raises:
        ValueError: if a class has no image.
    """
    unit = F.normalize(at_least_fp32(features), dim=-1)
    counts = torch.bincount(labels, minlength=n_classes).to(unit)[:, None]  # (C, 1)
    if not counts.all():
        lacking = int((counts == 0).nonzero()[0, 0])
        raise ValueError(f"class {lacking} has no training image, so it has no mean feature; give it one")
    zeros = unit.new_zeros(n_classes, unit.shape[1])
    means = zeros.index_add(0, labels, unit) / counts
    squares = zeros.index_add(0, labels, (unit - means[labels]) ** 2)
    return means, (squares / counts).sqrt()


def nearest_classes(means: Tensor, k: int) -> Tensor:
    """The k classes (C, k) that are nearest to each by the inner product of their means (C, D), nearest first.

    No class is near itself; where there are fewer others, k is their number.
    """
    similarity = (means @ means.T).fill_diagonal_(-torch.inf)
    return similarity.topk(min(k, len(means) - 1), dim=-1).indices


def draw_noise(spread: Tensor, noise: Noise) -> Tensor:
    """r for a spread (B, k, D): normal and for each row its own, or uniform in [0, 1) and one (D,) for all of them."""
    if noise == "gaussian":
        return torch.randn_like(spread)
    return torch.rand(spread.shape[-1], device=spread.device, dtype=spread.dtype)


def features_of_known(means: Tensor, spread: Tensor, r: Tensor, noise: Noise) -> Tensor:
    """F_known (B, k, D) of means and spread (B, k, D): for gaussian noise of unit length, for uniform as they are."""
    known = means + r * spread
    return F.normalize(known, dim=-1) if noise == "gaussian" else known
