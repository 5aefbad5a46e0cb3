"""Losses between an image-side vector and the embedding of the image's description (GPT4Image).

For vectors v (B, D_t) and unit text embeddings t (B, D_t), which are not normalised again:
    byol    mean_i (2 - 2 <n(v_i), t_i>)
    ctr     CE(n(V) T^T / tau, 1),  from images to texts alone
    clip    1/2 [CE(n(V) T^T / tau, 1) + CE(T n(V)^T / tau, 1)]
and ours, for descriptions that may be wrong: image i counts with the weight
    w_i = clip((cos(f(x_i), t_i) - q10) / (q90 - q10), 0, 1),   q10 and q90 quantiles of all such cosines
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.layers.contrastive import Positives, contrastive_rows, targets_of

Kind = Literal["byol", "ctr", "clip"]
CLIP_BATCH = 128  # from it on, "auto" is clip
QUANTILES = (0.1, 0.9)


def text_losses(vectors: Tensor, texts: Tensor, kind: Kind, tau: float, targets: Tensor | None = None) -> Tensor:
    """The loss of every pair, (B,), whose mean is the released loss.

    Args:
        vectors: (B, D_t), of any length.
        texts: unit rows (B, D_t).
        tau: the temperature of ctr and clip.
        targets: places (B,) of the partners, or probabilities (B, B); None pairs rows of one place.
    """
    unit = F.normalize(vectors, dim=-1)
    if kind == "byol":
        return 2 - 2 * (unit * texts).sum(dim=-1)
    targets = torch.arange(len(unit), device=unit.device) if targets is None else targets
    to_texts, to_images = contrastive_rows(unit, texts, 1 / tau, targets)
    return to_texts if kind == "ctr" else (to_texts + to_images) / 2


def noise_weights(cosines: Tensor) -> Tensor:
    """Weights from 0 to 1 of descriptions, by the cosines (N,) of frozen images and texts: 0 up to q10, 1 from q90 on.

    Where the two percentiles are the same, nothing tells descriptions apart and every weight is 1.
    """
    if not len(cosines):
        return cosines
    low, high = cosines.quantile(cosines.new_tensor(QUANTILES)).tolist()
    if not high > low:
        return torch.ones_like(cosines)
    return ((cosines - low) / (high - low)).clamp(0, 1)


def mixed_texts(texts: Tensor, partners: Tensor, share: float) -> Tensor:
    """Targets of mixed images: unit rows (B, D_t) mixed as the images are, and brought to unit length again.

    Args:
        partners: (B,) int64, the row that each is mixed with.
        share: of the first image, from 0 to 1.
    """
    return F.normalize(share * texts + (1 - share) * texts[partners], dim=-1)


class DescriptionLoss(nn.Module):
    """The text loss of a batch, in which descriptions count by their weights and missing ones not at all.

    Args:
        kind: the loss; "auto" is clip for batches of 128 or more, and byol for smaller ones.
        lam: lambda, the weight of the loss beside another one.
        tau: the temperature of ctr and clip.
        positives: whether pairs of one class are positives of each other in ctr and clip.
    """

    def __init__(
        self,
        kind: Literal["auto", "byol", "ctr", "clip"] = "auto",
        lam: float = 0.5,
        tau: float = 0.07,
        positives: Positives = "auto",
    ):
        super().__init__()
        self.kind, self.lam, self.tau, self.positives = kind, lam, tau, positives

    def forward(
        self, vectors: Tensor, texts: Tensor, weights: Tensor | None = None, labels: Tensor | None = None
    ) -> Tensor:
        """lambda times the mean over the batch of each pair's loss with its weight: a scalar.

        Args:
            vectors: (B, D_t), of any length.
            texts: unit rows (B, D_t); rows without a description hold anything.
            weights: (B,) from 0 to 1; NaN where an image has no description, whose row is then no negative either.
            labels: (B,) int64, for `positives`.
        """
        weights = torch.ones_like(vectors[:, 0]) if weights is None else weights
        there = ~weights.isnan()
        kind: Kind = ("clip" if len(vectors) >= CLIP_BATCH else "byol") if self.kind == "auto" else self.kind
        if not there.any():
            return vectors.sum() * 0.0
        targets = None if labels is None else targets_of(labels[there], self.positives)
        losses = text_losses(vectors[there], texts[there], kind, self.tau, targets)
        return self.lam * (weights[there] * losses).sum() / len(vectors)
