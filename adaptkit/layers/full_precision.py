"""Arithmetic that must not run in half precision, even if the towers do."""

import torch
from torch import Tensor


def at_least_fp32(x: Tensor) -> Tensor:
    """The tensor in float32, or in float64 if it already is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
