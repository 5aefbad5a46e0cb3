"""Mod-X for labelled data: classes come in phases, and prompts of their names stand in the place of captions.

With unit image features I (B, D) and class weights W (C, D) of all classes seen so far, the first O of them old:
    M = I W^T,    L = CE(s M, labels) + alpha mean_i KL(rowsoftmax(M0 / tau) || rowsoftmax(M / tau)) over columns < O
The gate keeps a row if its class is an old one that the old model finds among the old; all others are left out.

Departure: the paper has captions alone; this form is ours.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.objectives.modx.losses import Reduction, reduced, row_divergence


def gated_labels(old: Tensor, labels: Tensor) -> Tensor:
    """Rows (B,) that are left out: of new classes, or misjudged by the old model.

    Args:
        old: the old model's similarities (B, O) to the O old classes, whose labels are 0 to O - 1.
        labels: (B,) int64 among all classes.
    """
    return old.argmax(dim=1) != labels  # a new class is none of the columns


def class_incremental_loss(
    image_features: Tensor,
    class_weights: Tensor,
    image_features_old: Tensor,
    class_weights_old: Tensor,
    labels: Tensor,
    logit_scale: Tensor,
    *,
    alpha: float = 1.0,
    tau: float = 0.07,
    reduction: Reduction = "mean",
) -> Tensor:
    """The loss of a batch of labelled images in a later phase: a scalar.

    Args:
        image_features: (B, D), not normalised.
        class_weights: (C, D) of all classes seen so far, the old ones first.
        image_features_old: (B, D') of the old model; no gradient goes there.
        class_weights_old: (O, D') of the old classes in the old model.
        labels: (B,) int64 among the C classes.
        logit_scale: scalar, the natural logarithm of the scale of cosines.

    Raises:
        ValueError: if there are no old classes, or more than classes.
    """
    old_count = len(class_weights_old)
    if not 0 < old_count <= len(class_weights):
        raise ValueError(
            f"there are {old_count} old classes of {len(class_weights)}; give the weights of one or more classes that "
            "the old model knew, which stand first among all"
        )
    current = F.normalize(image_features, dim=-1) @ F.normalize(class_weights, dim=-1).T  # (B, C)
    with torch.no_grad():
        old = F.normalize(image_features_old, dim=-1) @ F.normalize(class_weights_old, dim=-1).T  # (B, O)
    kept = reduced(row_divergence(current[:, :old_count] / tau, old / tau), gated_labels(old, labels), reduction)
    return F.cross_entropy(logit_scale.exp() * current, labels) + alpha * kept
