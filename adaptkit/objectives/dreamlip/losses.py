"""DreamLIP's losses: every sub-caption is a text of its image, and gathers the patches that it describes.

Zheng et al., "DreamLIP: Language-Image Pre-training with Long Captions", arXiv:2403.17007. For unit rows I (B, D) of
images, T (B, n, D) of the n texts of each, V (B, P, D) of its patches, and scales s, s_loc:
    L_clip = 1/(2n) [CE(s I T_0^T) + CE(s T_0 I^T)],    L_sub = 1/(2n) sum_{k>0} [CE(s I T_k^T) + CE(s T_k I^T)]
    a = <T_bt, V_bp>,  a^ = (a - min_p a) / (max_p a - min_p a),  0 below delta,  G_bt = n(sum_p a^ V_bp / sum_p a^)
    L_group = 1/2 [CE(s_loc T G^T) + CE(s_loc G T^T)]    over all B n texts and groups
A text that is missing has a row of zeros and takes no part. Memory grows with B n P, and with blocks of B n x B n.
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from adaptkit.contract.pair_objective import text_is_there

Spread = Literal["minmax", "softmax"]
NOTHING = 1e-10  # keeps a spread of 0 from dividing, as released
BLOCK = 4096  # rows of a matrix of similarities that are held at a time


def sub_caption_losses(
    images: Tensor, texts: Tensor, scale: Tensor | float, groups: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """L_clip of the first text of each image, and L_sub of the others: two scalars.

    Args:
        images: unit rows (B, D).
        texts: unit rows (B, n, D), zeros where a text is missing.
        groups: (B,) int64; other pairs of a group are no negatives. None has each pair by itself.
    """
    count = texts.shape[1]
    groups = torch.arange(len(images), device=images.device) if groups is None else groups
    losses = [_symmetric(images, texts[:, k], scale, groups) / count for k in range(count)]
    return losses[0], torch.stack(losses[1:]).sum() if count > 1 else losses[0].new_zeros(())


def patch_weights(texts: Tensor, patches: Tensor, delta: float = 0.0, spread: Spread = "minmax") -> Tensor:
    """How much each patch belongs to a text of its image: (B, n, P), rows that sum to 1.

    Args:
        texts: unit rows (B, n, D).
        patches: unit rows (B, P, D).
        delta: weights below it are 0; a negative one stands for 1 / P.
        spread: similarities from 0 to 1 between the least and the largest of a text, or a softmax.
    """
    weights = texts @ patches.transpose(1, 2)  # (B, n, P)
    if spread == "softmax":
        weights = weights.softmax(dim=-1)
    else:
        least, most = weights.amin(dim=-1, keepdim=True), weights.amax(dim=-1, keepdim=True)
        weights = (weights - least) / (most - least + NOTHING)
    least_weight = 1 / weights.shape[-1] if delta < 0 else delta
    weights = torch.where(weights < least_weight, torch.zeros_like(weights), weights)
    total = weights.sum(dim=-1, keepdim=True)
    return weights / torch.where(total == 0, torch.ones_like(total), total)


def patch_groups(texts: Tensor, patches: Tensor, delta: float = 0.0, spread: Spread = "minmax") -> Tensor:
    """What the patches of a text are together: unit rows (B, n, D); the arguments are those of `patch_weights`."""
    return F.normalize(patch_weights(texts, patches, delta, spread) @ patches, dim=-1)


def grouping_loss(
    texts: Tensor,
    patches: Tensor,
    scale: Tensor | float,
    groups: Tensor | None = None,
    *,
    delta: float = 0.0,
    spread: Spread = "minmax",
    same_image: Literal["negatives", "ignore"] = "negatives",
    code_order: bool = False,
) -> Tensor:
    """L_group: each text finds the group of patches that it gathered, and each group its text.

    Args:
        texts: unit rows (B, n, D), zeros where a text is missing.
        patches: unit rows (B, P, D).
        groups: (B,) int64; texts of other images of a group are no negatives.
        same_image: whether other texts of the same image are negatives, as released, or left out.
        code_order: let texts gather patches as the released code does, which for n > 1 mixes the images up: row b holds
            the texts b n to (b + 1) n - 1 of all first texts, then all second ones, and so on.
    """
    own, count = len(texts), texts.shape[1]
    if code_order:
        texts = texts.transpose(0, 1).reshape(own, count, -1)
    gathered = patch_groups(texts, patches, delta, spread).flatten(0, 1)  # (B n, D)
    there = text_is_there(texts).flatten()
    images = torch.arange(own, device=texts.device).repeat_interleave(count)
    groups = images if groups is None else groups.repeat_interleave(count)

    def left_out(rows: Tensor) -> Tensor:
        """Columns that are no negatives of some rows: (R, B n)."""
        same = groups[rows, None] == groups
        if same_image == "negatives":
            same = same & (images[rows, None] != images)
        columns = torch.arange(len(images), device=rows.device)
        return (same | ~there) & (rows[:, None] != columns)

    words = texts.flatten(0, 1)
    return (_finds(words, gathered, scale, there, left_out) + _finds(gathered, words, scale, there, left_out)) / 2


def circle_loss(images: Tensor, texts: Tensor, margin: float = 0.25, gamma: float = 32.0) -> Tensor:
    """The multi-positive circle loss that the released code has beside the others: a scalar, a tenth of the mean.

    Args:
        images: unit rows (B, D).
        texts: unit rows (B, n, D), all of which belong to their image; zeros where a text is missing.
    """
    count = texts.shape[1]
    texts = texts.transpose(0, 1).flatten(0, 1)  # (n B, D), text-major
    similarity, there = images @ texts.T, text_is_there(texts)
    own = torch.eye(len(images), dtype=torch.bool, device=images.device).repeat(1, count)
    pull = (1 + margin - similarity).clamp(min=0).detach()
    push = (similarity + margin).clamp(min=0).detach()
    near = (-gamma * pull * (similarity - (1 - margin))).masked_fill(~own | ~there, -torch.inf)
    far = (gamma * push * (similarity - margin)).masked_fill(own | ~there, -torch.inf)
    return F.softplus(near.logsumexp(dim=1) + far.logsumexp(dim=1)).mean() / 10


@torch.no_grad()
def sentence_scores(
    images: Tensor, patches: Tensor, text: Tensor, sentences: Tensor, beta: float = 0.5, delta: float = 0.0
) -> Tensor:
    """How well one text with its sentences fits each of N images, for ranking a shortlist again: (N,).

    S = <I, T> + beta mean_t <G_t, T_t>

    Args:
        images: unit rows (N, D).
        patches: unit rows (N, P, D).
        text: the unit row (D,) of the whole text.
        sentences: unit rows (S, D) of its sentences.
        beta: weight of the sentences.
    """
    each = sentences.expand(len(images), -1, -1)  # (N, S, D)
    return images @ text + beta * (patch_groups(each, patches, delta) * each).sum(dim=-1).mean(dim=-1)


def _symmetric(images: Tensor, texts: Tensor, scale: Tensor | float, groups: Tensor) -> Tensor:
    """Half the sum of both directions for one text of each image; rows of missing texts are left out."""
    there = text_is_there(texts)

    def left_out(rows: Tensor) -> Tensor:
        columns = torch.arange(len(groups), device=rows.device)
        return ((groups[rows, None] == groups) | ~there) & (rows[:, None] != columns)

    return (_finds(images, texts, scale, there, left_out) + _finds(texts, images, scale, there, left_out)) / 2


def _finds(
    queries: Tensor, keys: Tensor, scale: Tensor | float, there: Tensor, left_out: Callable[[Tensor], Tensor]
) -> Tensor:
    """Mean cross-entropy of the rows that are there, each to the key at its own place; a block of rows at a time."""

    def of_block(rows: Tensor) -> Tensor:
        logits = (scale * queries[rows] @ keys.T).masked_fill(left_out(rows), -torch.inf)
        return F.cross_entropy(logits, rows, reduction="none")

    rows = there.nonzero()[:, 0]
    if len(rows) <= BLOCK:
        losses = of_block(rows)
    else:
        losses = torch.cat([checkpoint(of_block, block, use_reentrant=False) for block in rows.split(BLOCK)])
    return losses.sum() / max(len(rows), 1)
