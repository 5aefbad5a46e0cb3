"""What the released code does beside its loss in every step: its optimiser, and the bounds of the scale."""

from collections.abc import Iterable

import torch
from torch import Tensor

MOST_LOGIT_SCALE = 4.6052  # slightly above ln 100


def recorded_optimizer(parameters: Iterable[Tensor], lr: float = 5e-4) -> torch.optim.AdamW:
    """The released AdamW, whose weight decay acts on all that learns, the scale among it."""
    return torch.optim.AdamW(parameters, lr=lr, eps=1e-8, weight_decay=0.1)


@torch.no_grad()
def clamp_logit_scale(logit_scale: Tensor) -> None:
    """Put the logarithm of the scale, a scalar, back into [0, 4.6052] in place, as released code does after a step."""
    logit_scale.clamp_(0, MOST_LOGIT_SCALE)
