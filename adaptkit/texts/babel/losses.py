"""The loss of a language adapter over pairs of an English text and its translation.

For English texts e, their translations l, the frozen text tower g and the adapted one g', with n to unit length:
    L = mean |n(g'(l)) - n(g(e))|^2 + k mean |n(g'(e)) - n(g(e))|^2 + lambda InfoNCE(s n(g'(l)) n(g(e))^T)
InfoNCE is the mean of both directions. English texts that stand in a batch twice belong to all of their translations.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.layers.contrastive import contrastive_rows, soft_targets


def alignment_loss(
    translated: Tensor, english: Tensor, teacher: Tensor, scale: Tensor | float, infonce: float = 0.1, keep: float = 1.0
) -> Tensor:
    """L of features g'(l), g'(e) and g(e), each (B, D) and not normalised: a scalar.

    Args:
        scale: CLIP's factor s on cosines.
        infonce: the weight lambda.
        keep: the weight k of what holds English texts in place.
    """
    ours, kept, wanted = (F.normalize(x, dim=-1) for x in (translated, english, teacher))
    loss = squared_distance(ours, wanted)
    if keep:
        loss = loss + keep * squared_distance(kept, wanted)
    if infonce:
        loss = loss + infonce * contrast(ours, wanted, scale)
    return loss


def squared_distance(first: Tensor, second: Tensor) -> Tensor:
    """The mean over rows of |a - b|^2, of rows (B, D)."""
    return (first - second).square().sum(dim=-1).mean()


def contrast(first: Tensor, second: Tensor, scale: Tensor | float) -> Tensor:
    """InfoNCE of unit rows (B, D), the mean of both directions; rows with the same partner share it."""
    _, partners = torch.unique(second.detach(), dim=0, return_inverse=True)  # (B,)
    forward, backward = contrastive_rows(first, second, scale, soft_targets(partners))
    return (forward.mean() + backward.mean()) / 2
