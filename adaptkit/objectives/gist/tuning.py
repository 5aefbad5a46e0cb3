"""The contrastive tuning of GIST as released: its loss, and its optimiser.

    L = 1/2 [CE(s I T^T, 1) + CE(s T I^T, 1)],    s = exp(logit_scale)
Adam with the weight decay in the gradient, not AdamW; every parameter is trained, and s is not clamped.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.layers.contrastive import Positives, contrastive_rows, targets_of


def contrastive_loss(
    image_features: Tensor,
    text_features: Tensor,
    logit_scale: Tensor,
    labels: Tensor | None = None,
    positives: Positives = "instance",
) -> Tensor:
    """The loss of pairs of features (B, D), of any length: a scalar.

    Args:
        logit_scale: logarithm of s.
        labels: (B,) int64 classes of the pairs, where `positives` asks for them.
    """
    images, texts = F.normalize(image_features, dim=-1), F.normalize(text_features, dim=-1)
    labels = torch.arange(len(images), device=images.device) if labels is None else labels
    to_texts, to_images = contrastive_rows(images, texts, logit_scale.exp(), targets_of(labels, positives))
    return (to_texts.mean() + to_images.mean()) / 2


def recorded_optimizer(parameters: Iterable[nn.Parameter], lr: float = 1e-6) -> torch.optim.Adam:
    """The optimiser of the released tuning; its weight decay is coupled, that is, part of the gradient."""
    return torch.optim.Adam(parameters, lr=lr, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.001)
