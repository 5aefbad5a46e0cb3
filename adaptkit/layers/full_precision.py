"""Arithmetic that must not run in half precision, even if the towers do."""

import torch
from torch import Tensor, nn


def at_least_fp32(x: Tensor) -> Tensor:
    """The tensor in float32, or in float64 if it already is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def run_as(module: nn.Module, x: Tensor, *more: Tensor | int | None) -> Tensor:
    """A module on x in the precision of x, also where `.half()` has made the module's parameters shorter.

    Args:
        more: further arguments of the module, handed on as they are.
    """
    parameters = dict(module.named_parameters())
    if all(parameter.dtype == x.dtype for parameter in parameters.values()):
        return module(x, *more)
    cast = {name: parameter.to(x.dtype) for name, parameter in parameters.items()}
    return torch.func.functional_call(module, cast, (x, *more))
