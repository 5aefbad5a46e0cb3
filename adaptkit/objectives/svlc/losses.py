"""SVLC's losses of images, captions, negative texts and positive texts.

Doveh et al., "Teaching Structured Vision & Language Concepts to Vision & Language Models", arXiv:2211.11733, and its
released code. With unit rows I, T, P (B, D) of images, captions and positive texts, the negatives Ng of the images Q
that have some, and a scale s:
    L_con = 1/2 [CE(s I [T; Ng]^T, diag) + CE(s T I^T, diag)]
    L_neg = mean over Q of -log softmax(s [<I, T>, <I, Ng_1>, ..., <I, Ng_n>])_0
    L_pos = 1/2 [CE(s I P^T, diag) + CE(s T P^T, diag)]
    L     = L_con + neg_w L_neg + L_pos

Departure: with several processes the released code cuts the texts to the captions before it takes the negatives from
    them, so that L_con has none. Here a loss is of the whole batch, and all its negatives take part.
Departure: an image may have fewer negatives than another; the missing ones take part in nothing.
Departure: pairs of one group are no negatives of each other, and neither are their negatives.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.contract.pair_objective import text_is_there
from adaptkit.layers.contrastive import other_pairs_of_group
from adaptkit.options import option, options

KL_POS = 0.1  # weight of the term that makes captions and positives alike
KL_COMMON = 0.01  # weight of the term over captions and positives of the whole batch


class SVLCLosses(NamedTuple):
    """The loss of a batch and its parts, each a scalar."""

    total: Tensor
    contrastive: Tensor
    negative: Tensor  # L_neg before its weight; 0 where no image has a negative
    positive: Tensor  # L_pos with its optional terms; 0 without positives


@options
class NegativeAwareLoss:
    """The loss of a batch whose texts were manipulated.

    Example:
        ```python
        import torch
        import torch.nn.functional as F

        from adaptkit.objectives.svlc import NegativeAwareLoss

        images, captions = F.normalize(torch.randn(4, 8), dim=-1), F.normalize(torch.randn(4, 8), dim=-1)
        negatives = F.normalize(torch.randn(4, 2, 8), dim=-1)  # two for each image; zeros where one is missing
        losses = NegativeAwareLoss(neg_w=2.0)(images, captions, torch.tensor(100.0), negatives)
        assert losses.total == losses.contrastive + 2 * losses.negative
        ```
    """

    neg_w: float = option(1.0, "Weight of the loss between each caption and its own negatives.", least=0)
    pos: bool = option(True, "Whether positives that are given count.")
    symmetric: bool = option(False, "The positive loss in both directions of each of its terms.")
    kl_pos: bool = option(False, "A term that pulls <I, T> and <I, P> together, with weight 0.1.")
    common_batch_pos: bool = option(
        False, "A term over captions and positives of the whole batch, with weight 0.01; its target is nearly uniform."
    )
    no_neg_in_contrastive: bool = option(False, "Leave the negatives out of the contrastive loss.")

    def __call__(
        self,
        images: Tensor,
        captions: Tensor,
        scale: Tensor | float,
        negatives: Tensor | None = None,
        positives: Tensor | None = None,
        groups: Tensor | None = None,
    ) -> SVLCLosses:
        """The losses of a batch.

        Args:
            images: unit rows (B, D).
            captions: unit rows (B, D), pair by pair.
            scale: of the cosines; exp of CLIP's logit_scale.
            negatives: unit rows (B, n, D), zeros for those that are missing.
            positives: unit rows (B, D).
            groups: (B,) int64; None where every pair is a group of its own.

        Raises:
            ValueError: if the rows do not belong together.
        """
        _check(images, captions, negatives, positives)
        groups = torch.arange(len(images), device=images.device) if groups is None else groups
        same = other_pairs_of_group(groups)
        zero = images.new_zeros(())
        seen = None if self.no_neg_in_contrastive else negatives
        contrastive = contrastive_loss(images, captions, scale, seen, same)
        negative = zero if negatives is None else negative_loss(images, captions, negatives, scale)
        positive = zero
        if positives is not None and self.pos:
            positive = positive_loss(images, captions, positives, scale, same, symmetric=self.symmetric)
            if self.kl_pos:
                positive = positive + KL_POS * kl_of_pairs(images, captions, positives, scale)
            if self.common_batch_pos:
                positive = positive + KL_COMMON * kl_of_batch(images, captions, positives, scale)
        total = contrastive + positive
        if negatives is not None and self.neg_w:
            total = total + self.neg_w * negative
        return SVLCLosses(total, contrastive, negative, positive)


def contrastive_loss(
    images: Tensor, captions: Tensor, scale: Tensor | float, negatives: Tensor | None, same: Tensor
) -> Tensor:
    """L_con: CLIP's loss, in which all negatives of the batch are further texts for every image.

    Args:
        negatives: (B, n, D), zeros for those that are missing; None for CLIP's loss.
        same: (B, B), true where two different pairs are of one group.
    """
    own = torch.arange(len(images), device=images.device)
    to_captions = (scale * images @ captions.T).masked_fill(same, -torch.inf)  # (B, B)
    to_texts = to_captions
    if negatives is not None:
        there = text_is_there(negatives)  # (B, n)
        barred = same[:, :, None] | ~there[None]  # (B, B, n)
        logits = (scale * images @ negatives.flatten(0, 1).T).masked_fill(barred.flatten(1), -torch.inf)
        to_texts = torch.cat([to_captions, logits], dim=1)  # (B, B + B n)
    return (F.cross_entropy(to_texts, own) + F.cross_entropy(to_captions.T, own)) / 2


def negative_loss(images: Tensor, captions: Tensor, negatives: Tensor, scale: Tensor | float) -> Tensor:
    """L_neg: every image is to find its caption among the caption's own negatives; 0 where there are none at all."""
    there = text_is_there(negatives)  # (B, n)
    has_some = there.any(dim=1)  # (B,)
    if not has_some.any():
        return images.new_zeros(())
    texts = torch.cat([captions[:, None], negatives], dim=1)  # (B, 1 + n, D)
    logits = scale * torch.einsum("bd,bnd->bn", images, texts)
    kept = torch.cat([torch.ones_like(there[:, :1]), there], dim=1)
    logits = logits.masked_fill(~kept, -torch.inf)[has_some]
    return -logits.log_softmax(dim=1)[:, 0].mean()


def positive_loss(
    images: Tensor, captions: Tensor, positives: Tensor, scale: Tensor | float, same: Tensor, *, symmetric: bool
) -> Tensor:
    """L_pos: images and captions are to find the positive text of their pair.

    Args:
        same: (B, B), true where two different pairs are of one group.
        symmetric: positives are to find images and captions, too.
    """
    own = torch.arange(len(images), device=images.device)
    losses = []
    for rows in (images, captions):
        logits = (scale * rows @ positives.T).masked_fill(same, -torch.inf)
        losses.append(F.cross_entropy(logits, own))
        if symmetric:
            losses.append(F.cross_entropy(logits.T, own))
    return torch.stack(losses).mean()


def kl_of_pairs(images: Tensor, captions: Tensor, positives: Tensor, scale: Tensor | float) -> Tensor:
    """KL of softmax(s [<I, T>, <I, P>]) from the uniform distribution over the two, the mean over images."""
    logits = scale * torch.stack([(images * captions).sum(dim=1), (images * positives).sum(dim=1)], dim=1)
    return F.kl_div(logits.log_softmax(dim=1), torch.full_like(logits, 0.5), reduction="batchmean")


def kl_of_batch(images: Tensor, captions: Tensor, positives: Tensor, scale: Tensor | float) -> Tensor:
    """KL of softmax(s I [T; P]^T) from softmax([1, 1] / 2) with the unit matrix 1, the mean over images."""
    logits = scale * images @ torch.cat([captions, positives]).T  # (B, 2 B)
    eye = torch.eye(len(images), dtype=logits.dtype, device=logits.device)
    target = (torch.cat([eye, eye], dim=1) / 2).softmax(dim=1)
    return F.kl_div(logits.log_softmax(dim=1), target, reduction="batchmean")


def images_with_negatives(tokens: Tensor) -> Tensor:
    """Places (Q,) int64 of the images whose negatives, tokens (B, n, L), are not all zero."""
    return tokens.flatten(1).ne(0).any(dim=1).nonzero()[:, 0]


def place_negatives(features: Tensor, places: Tensor, count: int) -> Tensor:
    """Negatives image by image (Q n, D), of the images at places (Q,) -> (B, n, D) with zeros for the others.

    Args:
        count: B.
    """
    own = features.view(len(places), -1, features.shape[-1]) if len(places) else features.new_zeros(0, 1, 1)
    return features.new_zeros(count, *own.shape[1:]).index_copy(0, places, own)


def _check(images: Tensor, captions: Tensor, negatives: Tensor | None, positives: Tensor | None) -> None:
    if images.ndim != 2 or captions.shape != images.shape:
        raise ValueError(
            f"images {tuple(images.shape)} and captions {tuple(captions.shape)}; expected the same (B, D) of both"
        )
    if positives is not None and positives.shape != images.shape:
        raise ValueError(f"positives {tuple(positives.shape)}; expected {tuple(images.shape)}, one for each pair")
    if negatives is not None and (negatives.ndim != 3 or negatives[:, 0].shape != images.shape):
        raise ValueError(
            f"negatives {tuple(negatives.shape)}; expected ({len(images)}, n, {images.shape[1]}) with n of 1 or more, "
            "and zeros for those that are missing"
        )
