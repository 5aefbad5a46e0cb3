"""Arithmetic that must not run in half precision, whatever the towers run in."""

import torch
from torch import Tensor


def at_least_fp32(x: Tensor) -> Tensor:
    """The tensor in float32, or in float64 where it is that already."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
