"""Information filtering (Pang et al., arXiv:2310.12973, section 5): which tokens a block makes stand out.

    magnitude of a token:  |x_i - mean_j x_j|
    its frequency:         the largest term, without the constant one, of the Fourier transform of its channels
The tokens that stand out most are compared with the foreground of the image, where it is known.
"""

import torch
from torch import Tensor


def magnitudes(rows: Tensor) -> Tensor:
    """Length of every token behind centring over an image's tokens: (B, n, d) -> (B, n)."""
    return (rows - rows.mean(dim=1, keepdim=True)).norm(dim=-1)


def dominant_frequencies(rows: Tensor) -> Tensor:
    """The frequency, from 1 to d / 2, with the largest term of every centred token: (B, n, d) -> (B, n) int64."""
    spectrum = torch.fft.rfft(rows - rows.mean(dim=1, keepdim=True), dim=-1).abs()
    return 1 + spectrum[..., 1:].argmax(dim=-1)


def overlap_with_foreground(activation: Tensor, foreground: Tensor, share: float = 0.25) -> Tensor:
    """Intersection over union of the patches with the largest activation with the foreground: (B,).

    Args:
        activation: (B, P), one number for each patch.
        foreground: (B, P) bool.
        share: of the patches that count as active.
    """
    count = max(1, round(share * activation.shape[1]))
    active = torch.zeros_like(foreground).scatter(1, activation.topk(count, dim=1).indices, True)
    return (active & foreground).sum(dim=1) / (active | foreground).sum(dim=1)
