"""Sparsemax: the point of the probability simplex that is nearest to a vector, with its exact Jacobian.

Martins and Astudillo, "From Softmax to Sparsemax", arXiv:1602.02068, algorithm 1 and equation 12. With z_(1) >= z_(2)
.. the sorted entries:
    k = max {j : 1 + j z_(j) > sum_{i <= j} z_(i)},  tau = (sum_{i <= k} z_(i) - 1) / k,  p_i = max(z_i - tau, 0)
    dp/dz = I_S - 1_S 1_S^T / |S|   on the support S = {i : p_i > 0}, zero elsewhere
"""

import torch
from torch import Tensor

from adaptkit.layers.full_precision import at_least_fp32


def sparsemax(z: Tensor, dim: int = -1) -> Tensor:
    """Probabilities along `dim`, many of them exactly 0, in the dtype of z; O(N log N) in the size N of `dim`.

    Half-precision input is computed in fp32, also under autocast.

    Raises:
        ValueError: if z is not floating point, or has no entries along `dim`.
    """
    if not z.is_floating_point() or z.ndim == 0 or z.shape[dim] == 0:
        raise ValueError(
            f"sparsemax of a {tuple(z.shape)} tensor of {z.dtype}; expected floats with one or more along dim"
        )
    return _Sparsemax.apply(z, dim)


class _Sparsemax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, z: Tensor, dim: int) -> Tensor:
        exact = at_least_fp32(z.transpose(dim, -1))
        exact = exact - exact.amax(dim=-1, keepdim=True)  # Sums of large entries would lose small differences.
        ordered = exact.sort(dim=-1, descending=True).values
        count = torch.arange(1, z.shape[dim] + 1, device=z.device, dtype=exact.dtype)
        excess = ordered.cumsum(dim=-1) - 1  # (..., N)
        size = (count * ordered > excess).sum(dim=-1, keepdim=True)  # k, at least 1
        tau = excess.gather(-1, size - 1) / size
        p = (exact - tau).clamp(min=0).transpose(dim, -1)
        ctx.save_for_backward(p > 0)
        ctx.dim = dim  # type: ignore[attr-defined]
        return p.to(z.dtype)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        (support,) = ctx.saved_tensors  # type: ignore[attr-defined]
        dim: int = ctx.dim  # type: ignore[attr-defined]
        g = at_least_fp32(gradient) * support
        mean = g.sum(dim=dim, keepdim=True) / support.sum(dim=dim, keepdim=True)
        return ((g - mean) * support).to(gradient.dtype), None
