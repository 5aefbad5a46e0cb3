"""Losses that draw records of a group together and push those of other groups away.

Of released CLIPPINGS (dell-research-harvard/clippings 16e3cd0), which takes them from a library of metric learning. For
unit rows e (N, D), P(i) the other records of i's group, d the Euclidean distance:
    L_supcon = mean_i -1 / |P(i)| sum_{p in P(i)} ln [ exp(<e_i, e_p> / T) / sum_{a != i} exp(<e_i, e_a> / T) ]
        over the records with a loss above 0, so one without partner in the batch, whose loss is 0, is left out
    L_contrastive = mean relu(d - pos_margin) over pairs of a group + mean relu(neg_margin - d) over the other pairs,
        each mean over the pairs that are not 0, ordered
SupCon is Khosla et al., arXiv:2004.11362; with one positive it is InfoNCE without the row itself.
"""

import torch
from torch import Tensor

from adaptkit.layers.contrastive import other_pairs_of_group


def supcon_loss(vectors: Tensor, groups: Tensor, temperature: float = 0.1) -> Tensor:
    """The supervised contrastive loss of unit vectors (N, D) of records with groups (N,): a scalar.

    It is 0, with a gradient of 0, where no record has a partner.

    Raises:
        ValueError: if there are not as many groups as vectors.
    """
    _check(vectors, groups)
    similar = vectors @ vectors.T / temperature
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    log_share = similar - similar.masked_fill(itself, -torch.inf).logsumexp(dim=1, keepdim=True)
    positive = other_pairs_of_group(groups)
    of_positives = torch.where(positive, log_share, torch.zeros_like(log_share)).sum(dim=1)
    losses = -of_positives / positive.sum(dim=1).clamp(min=1)
    return _mean_above_zero(losses)


def margin_contrastive_loss(
    vectors: Tensor, groups: Tensor, pos_margin: float = 0.0, neg_margin: float = 0.5
) -> Tensor:
    """The contrastive loss with margins of unit vectors (N, D) of records with groups (N,): a scalar.

    Args:
        pos_margin: distance that records of a group may have for nothing.
        neg_margin: distance, from 0 to 2, beyond which records of two groups are far enough apart.

    Raises:
        ValueError: if there are not as many groups as vectors.
    """
    _check(vectors, groups)
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    positive = other_pairs_of_group(groups)
    # The distance of a row to itself is left out before the root, whose slope is endless at 0.
    squared = (2 - 2 * vectors @ vectors.T).masked_fill(itself, 1.0)
    distance = squared.clamp(min=1e-12).sqrt()
    apart = (distance[positive] - pos_margin).relu()
    near = (neg_margin - distance[~positive & ~itself]).relu()
    return _mean_above_zero(apart) + _mean_above_zero(near)


def _mean_above_zero(losses: Tensor) -> Tensor:
    """The mean of the losses above 0; 0 where there is none."""
    above = losses > 0
    return torch.where(above, losses, torch.zeros_like(losses)).sum() / above.sum().clamp(min=1)


def _check(vectors: Tensor, groups: Tensor) -> None:
    if vectors.ndim != 2 or groups.shape != vectors.shape[:1]:
        raise ValueError(
            f"vectors {tuple(vectors.shape)} and groups {tuple(groups.shape)} do not belong together; expected (N, D) "
            "and (N,), a group for each record"
        )
