"""Frozen linear layers on oneDNN, for CPUs on which the default fp32 matrix product runs at half speed.

On AMD processors with AVX-512, MKL's fp32 GEMM reaches about half of oneDNN's speed (the numbers of one are in
benchmarks/results/text_tower.json); with AVX2 alone MKL is the faster of the two. `linear` is
`torch.nn.functional.linear`; with oneDNN enabled it sends large fp32 products of frozen weights to oneDNN.
The arithmetic stays fp32, the rounding differs. Gradients flow to the input only, through a transposed copy of the
weight, so frozen weights take twice their memory in training.
"""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

MIN_WEIGHT_NUMEL = 256 * 256  # Smaller weights cost more for the call than they save.

_transposed: WeakIdKeyDictionary = WeakIdKeyDictionary()
_enabled: bool | None = None  # None lets the processor decide.


@lru_cache(maxsize=1)
def onednn_helps() -> bool:
    """True on an AMD x86 processor with AVX-512 and a torch that has MKL and oneDNN."""
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        return False
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    cpuinfo = Path("/proc/cpuinfo")
    processor = cpuinfo.read_text() if cpuinfo.is_file() else platform.processor()
    return "AuthenticAMD" in processor and "avx512f" in processor


def onednn_enabled() -> bool:
    """Whether `linear` uses oneDNN now, by the innermost `use_onednn` block or else by the processor."""
    return onednn_helps() if _enabled is None else _enabled


@contextmanager
def use_onednn(enabled: bool) -> Iterator[None]:
    """Force oneDNN linears on or off inside the block.

    Raises:
        RuntimeError: if oneDNN is asked for and this torch lacks it.
    """
    if enabled and not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        raise RuntimeError("this torch build has no oneDNN linear; use a CPU build with oneDNN, or use_onednn(False)")
    global _enabled
    before, _enabled = _enabled, enabled
    try:
        yield
    finally:
        _enabled = before


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., I), weight (O, I), bias (O,) -> (..., O); on oneDNN if enabled and the weight is frozen."""
    if _runs_on_onednn(x, weight, bias):
        return _FrozenLinearFunction.apply(x, weight, bias)
    return F.linear(x, weight, bias)


def _runs_on_onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    return (
        not torch.compiler.is_compiling()  # First, because a compiler cannot trace the other checks.
        and not torch.jit.is_tracing()
        and not torch._C._are_functorch_transforms_active()
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and weight.numel() >= MIN_WEIGHT_NUMEL
        and not weight.requires_grad
        and (bias is None or not bias.requires_grad)
        and onednn_enabled()
        and not torch.is_autocast_enabled("cpu")
    )


def _transpose_of(weight: Tensor) -> Tensor:
    """A contiguous copy of weight.T, kept as long as the weight lives and remade after a write to it."""
    base = weight if weight._base is None else weight._base
    key = (weight.data_ptr(), tuple(weight.shape), base._version)
    copies = _transposed.setdefault(base, {})
    if key not in copies:
        for stale in [old for old in copies if old[:2] == key[:2]]:
            del copies[stale]
        copies[key] = weight.detach().t().contiguous()
    return copies[key]


class _FrozenLinearFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.weight = weight
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[no-untyped-def]
        return (
            torch.ops.mkldnn._linear_pointwise(grad.contiguous(), _transpose_of(ctx.weight), None, "none", [], ""),
            None,
            None,
        )


class FrozenLinear(nn.Linear):
    """A linear layer that shares the parameters of another and computes through `linear`."""

    def __init__(self, source: nn.Linear):
        super().__init__(source.in_features, source.out_features, bias=source.bias is not None, device="meta")
        self.weight, self.bias = source.weight, source.bias

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def swap_frozen_linears(model: nn.Module) -> None:
    """Replace every plain `nn.Linear` below `model` by a `FrozenLinear` over the same parameters; names stay."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Linear:
                setattr(parent, name, FrozenLinear(child))
