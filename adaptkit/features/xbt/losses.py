"""The losses of XBT's two stages, between unit rows in the old space.

Stage 1, texts alone: a = g_new(y), b = g_old(y) of a text y,
    a~ = n(a + eps),   eps ~ N(0, sigma^2 I),   sigma uniform in [0, sigma_max], of every text its own
    L1 = lambda_c InfoNCE(p(a~), b) + lambda_m mean |p(a~) - b|^2
Stage 2, pairs (x, y), without the old model: t = p(g_new(y)) stands for g_old(y), f' and g' are what is tuned,
    L2 = InfoNCE(p(f'(x)), t) + InfoNCE(p(g'(y)), t) + InfoNCE(p(f'(x)), p(g'(y)))
InfoNCE is symmetric, with the temperature tau. Images lie off the cone of the texts; the noise makes phi smooth there.
"""

import torch
from torch import Tensor

from adaptkit.features.xbt.alignment import unit
from adaptkit.layers.contrastive import info_nce

TAU = 0.07


def perturbed(rows: Tensor, sigma_max: float, generator: torch.Generator | None = None) -> Tensor:
    """Unit rows a~ (B, D) around unit rows (B, D).

    Args:
        sigma_max: largest standard deviation of a coordinate's noise; 0 leaves the rows as they are.
        generator: of the noise; None for torch's own.

    Raises:
        ValueError: if `sigma_max` is below 0.
    """
    if sigma_max < 0:
        raise ValueError(f"sigma_max={sigma_max}; expected 0 or more, such as {rows.shape[-1] ** -0.5:.3f}")
    if sigma_max == 0:
        return rows
    sigma = sigma_max * torch.rand(len(rows), 1, generator=generator).to(rows)
    return unit(rows + sigma * torch.randn(rows.shape, generator=generator).to(rows))


def text_loss(
    mapped: Tensor, old_texts: Tensor, *, lambda_c: float = 1.0, lambda_m: float = 1.0, tau: float = TAU
) -> Tensor:
    """L1 of stage 1, a scalar.

    Args:
        mapped: unit rows p(a~) (B, d_o).
        old_texts: unit rows b (B, d_o), text by text.
    """
    contrast = info_nce(mapped, old_texts, 1 / tau)
    return lambda_c * contrast + lambda_m * (mapped - old_texts).square().sum(dim=-1).mean()


def pair_loss(images: Tensor, texts: Tensor, targets: Tensor, groups: Tensor | None = None, tau: float = TAU) -> Tensor:
    """L2 of stage 2, a scalar.

    Args:
        images: unit rows p(f'(x)) (B, d_o).
        texts: unit rows p(g'(y)) (B, d_o), pair by pair.
        targets: unit rows t = p(g(y)) (B, d_o), which stay.
        groups: (B,) int64, pairs of one group are no negatives of each other.
    """
    scale = 1 / tau
    to_old = info_nce(images, targets, scale, groups) + info_nce(texts, targets, scale, groups)
    return to_old + info_nce(images, texts, scale, groups)
