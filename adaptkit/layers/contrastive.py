"""Contrastive losses of paired image and text features, row by row.

For unit rows I, T (B, D), a scale s and targets Y (B, B), whose rows are probabilities:
    image to text   CE(s I T^T, Y),      text to image   CE(s T I^T, Y)
Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", arXiv:2103.00020, have Y = 1
and take the mean of both. With classes c the other pairs of a row's class are positives, too, and no negatives:
    Y[i, j] = 1 / |{k: c_k = c_i}| if c_j = c_i, else 0
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Positives = Literal["auto", "instance", "class"]
LARGE_BATCH = 32  # beyond it, "auto" takes pairs of one class for positives


def soft_targets(classes: Tensor) -> Tensor:
    """Classes (B,) of the pairs -> targets Y (B, B): the pairs of a row's class share its probability."""
    same = (classes[:, None] == classes[None, :]).float()
    return same / same.sum(dim=1, keepdim=True)


def contrastive_rows(images: Tensor, texts: Tensor, scale: Tensor | float, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Losses (B,) from each image to the texts, and (B,) from each text to the images.

    Args:
        images: unit rows (B, D).
        texts: unit rows (B, D), pair by pair.
        targets: (B,) int64, the place of each row's partner, or probabilities (B, B).
    """
    logits = scale * images @ texts.T  # (B, B)
    targets = targets.to(logits) if targets.is_floating_point() else targets
    return F.cross_entropy(logits, targets, reduction="none"), F.cross_entropy(logits.T, targets, reduction="none")


def info_nce(images: Tensor, texts: Tensor, scale: Tensor | float, groups: Tensor) -> Tensor:
    """The mean of both directions with Y = 1, a scalar; other pairs of a group are left out of the negatives.

    Args:
        images: unit rows (B, D).
        texts: unit rows (B, D), pair by pair.
        groups: (B,) int64.
    """
    logits = scale * images @ texts.T  # (B, B)
    logits = logits.masked_fill(other_pairs_of_group(groups), -torch.inf)
    own = torch.arange(len(groups), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def targets_of(labels: Tensor, positives: Positives) -> Tensor:
    """The targets of pairs with labels (B,): (B,) their own places, or (B, B) shared by class."""
    by_class = positives == "class" or (positives == "auto" and len(labels) > LARGE_BATCH)
    return soft_targets(labels) if by_class else torch.arange(len(labels), device=labels.device)


def other_pairs_of_group(groups: Tensor) -> Tensor:
    """Groups (B,) of the pairs -> (B, B), true where two different pairs are of one group."""
    same = groups[:, None] == groups[None, :]
    return same & ~torch.eye(len(groups), dtype=torch.bool, device=groups.device)
