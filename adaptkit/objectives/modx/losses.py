"""Mod-X's loss: InfoNCE on the new pairs, and rows of similarities that keep the shape the old model gave them.

For unit features I, T (B, D) of the model that learns and I0, T0 of the model as it was, M = I T^T and M0 = I0 T0^T:
    gate        a row i of M0 whose largest entry is no right one is replaced by M[i]      (`gated_rows`)
    KL(M0, M)   = sum_i sum_j P_ij (ln P_ij - ln Q_ij),  P = rowsoftmax(M0 / tau),  Q = rowsoftmax(M / tau)
    L_align     = 1/2 [KL(M0, M) + KL(M0^T, M^T)], each with a gate of its own             (`alignment`)
    L           = L_nce + alpha L_align                                                    (`modx_loss`)
A replaced row has P = Q, where KL and its gradient are 0; so rows are left out here, and no row is ever replaced.
The defaults of these functions are those of the released code.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.layers.contrastive import info_nce

Gate = Literal["groups", "own", "none"]  # which columns of a row are right: those of its group, its own, or all
Reduction = Literal["sum", "mean"]  # of the rows' divergences

RELEASED_ALPHA, RELEASED_BATCH = 20.0, 280  # the released script's weight of the sum over rows, and its batch
ALPHA_OF_MEAN = RELEASED_ALPHA * RELEASED_BATCH  # weighs the mean as released code weighs the sum at its batch
SAME_TEXT = 1 - 1e-6  # cosine of two captions that are the same text, up to rounding


@dataclass(frozen=True)
class Alignment:
    """How far the rows of similarities went from those of the old model."""

    image: Tensor  # scalar, rows of images over texts
    text: Tensor  # scalar, rows of texts over images
    gated_image_rows: Tensor  # (B,) bool, rows that the old model misjudges and that are left out
    gated_text_rows: Tensor  # (B,) bool

    @property
    def loss(self) -> Tensor:
        """The mean of both directions, a scalar."""
        return (self.image + self.text) / 2


@dataclass(frozen=True)
class ModXLoss:
    """The loss of a batch and its two parts."""

    total: Tensor  # scalar
    nce: Tensor  # scalar
    align: Alignment


def gated_rows(old: Tensor, right: Tensor | None = None) -> Tensor:
    """Rows (N,) of the old model's similarities whose largest entry is no right one.

    Args:
        old: (N, M).
        right: (N, M) bool, the right columns of each row; None for the diagonal alone.
    """
    best = old.argmax(dim=1)  # (N,)
    if right is None:
        return best != torch.arange(len(old), device=old.device)
    return ~right.gather(1, best[:, None])[:, 0]


def gated_target(current: Tensor, old: Tensor, gated: Tensor) -> Tensor:
    """The rows (N, M) that current ones are aligned with, as the released code writes them: gated ones are current."""
    return torch.where(gated[:, None], current, old)


def row_divergence(current: Tensor, old: Tensor, *, off_diagonal: bool = False) -> Tensor:
    """KL(softmax(old) || softmax(current)) of each row: (N,).

    Args:
        current: similarities (N, M), divided by the temperature.
        old: the same of the old model; no gradient goes there.
        off_diagonal: leave the diagonal out of both softmaxes; N = M then.
    """
    if off_diagonal:
        others = ~torch.eye(len(current), dtype=torch.bool, device=current.device)
        current, old = (rows[others].view(len(rows), -1) for rows in (current, old))  # (N, N - 1)
    log_p, log_q = old.detach().log_softmax(dim=1), current.log_softmax(dim=1)
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=1)


def reduced(divergences: Tensor, gated: Tensor, reduction: Reduction) -> Tensor:
    """The sum of the rows (N,) that are not gated, or their sum over N: gated rows count as rows of divergence 0."""
    kept = divergences.masked_fill(gated, 0.0)
    return kept.sum() if reduction == "sum" else kept.sum() / max(len(kept), 1)


def right_pairs(texts: Tensor, groups: Tensor) -> Tensor:
    """Texts (B, D) as unit rows of one model and groups (B,) -> (B, B) bool, pairs of one group or of one caption."""
    return (groups[:, None] == groups[None, :]) | (texts @ texts.T >= SAME_TEXT)


def alignment(
    images: Tensor,
    texts: Tensor,
    images_old: Tensor,
    texts_old: Tensor,
    *,
    tau: Tensor | float = 1.0,
    off_diagonal: bool = False,
    reduction: Reduction = "sum",
    gate: Gate = "own",
    groups: Tensor | None = None,
) -> Alignment:
    """How far the model's similarities went from the old model's, both ways.

    Args:
        images, texts: unit rows (B, D) of the model that learns, pair by pair.
        images_old, texts_old: unit rows (B, D') of the old model; no gradient goes there.
        tau: the temperature of both softmaxes.
        off_diagonal: compare how a row spreads over the other pairs alone.
        reduction: the sum over rows, as released, or their mean.
        gate: "own" leaves out a row of which the old model does not find its own partner, as released; with "groups"
            pairs of its group and pairs of the same caption are right, too; "none" keeps all rows.
        groups: (B,) int64; None where every pair is a group of its own.
    """
    current = images @ texts.T  # (B, B)
    old = (images_old @ texts_old.T).detach()
    if gate == "none":
        gated_image = gated_text = torch.zeros(len(current), dtype=torch.bool, device=current.device)
    else:
        right = None
        if gate == "groups":
            own = torch.arange(len(old), device=old.device) if groups is None else groups
            right = right_pairs(texts_old.detach(), own)
        gated_image, gated_text = gated_rows(old, right), gated_rows(old.T, right)
    current, old = current / tau, old / tau
    image = reduced(row_divergence(current, old, off_diagonal=off_diagonal), gated_image, reduction)
    text = reduced(row_divergence(current.T, old.T, off_diagonal=off_diagonal), gated_text, reduction)
    return Alignment(image, text, gated_image, gated_text)


def modx_loss(
    image_features: Tensor,
    text_features: Tensor,
    image_features_old: Tensor,
    text_features_old: Tensor,
    logit_scale: Tensor,
    *,
    alpha: float = RELEASED_ALPHA,
    tau: float = 1.0,
    off_diagonal: bool = False,
    reduction: Reduction = "sum",
    gate: Gate = "own",
    groups: Tensor | None = None,
) -> ModXLoss:
    """Mod-X's loss of a batch of pairs, from features that are not normalised.

    Args:
        image_features, text_features: (B, D) of the model that learns, pair by pair.
        image_features_old, text_features_old: (B, D') of the old model; no gradient goes there.
        logit_scale: scalar, the natural logarithm of the scale of cosines in InfoNCE.
        alpha: weight of the alignment; 20 with the sum, and 5600 with the mean, are the released weight.
        groups: (B,) int64; pairs of one group are no negatives of each other. None: every pair is one of its own.

    Example:
        ```python
        import torch
        from adaptkit.objectives.modx import modx_loss

        images, texts = torch.randn(4, 8), torch.randn(4, 8)
        loss = modx_loss(images, texts, images, texts, torch.tensor(2.66))
        assert loss.align.loss == 0  # the old model is the current one
        ```
    """
    images, texts, images_old, texts_old = (
        F.normalize(features, dim=-1)
        for features in (image_features, text_features, image_features_old, text_features_old)
    )
    own = torch.arange(len(images), device=images.device) if groups is None else groups
    nce = info_nce(images, texts, logit_scale.exp(), own)
    align = alignment(
        images, texts, images_old, texts_old, tau=tau, off_diagonal=off_diagonal, reduction=reduction, gate=gate,
        groups=own,
    )  # fmt: skip
    return ModXLoss(nce + alpha * align.loss, nce, align)
