"""QuickGELU with one tensor kept for the backward pass instead of two."""

import torch
from open_clip.transformer import QuickGELU
from torch import Tensor, nn

SLOPE = 1.702


class LeanQuickGELU(QuickGELU):
    """QuickGELU, x * sigmoid(1.702 x), with value and gradient bit for bit the same.

    Autograd keeps x and the sigmoid, each four times as wide as the tower: more than half of a frozen block's memory.
    Here the backward pass computes the sigmoid again.
    """

    def forward(self, x: Tensor) -> Tensor:
        # A graph has no place and no need for Python, and transforms of functions cannot look into it.
        if torch.compiler.is_compiling() or torch.jit.is_tracing() or torch._C._are_functorch_transforms_active():
            return super().forward(x)
        return _QuickGELUFunction.apply(x)


class _QuickGELUFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x)
        return (SLOPE * x).sigmoid_().mul_(x)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        (x,) = ctx.saved_tensors
        sigmoid = (SLOPE * x).sigmoid_()
        through_sigmoid = torch.ops.aten.sigmoid_backward(grad * x, sigmoid).mul_(SLOPE)
        return through_sigmoid.add_(grad * sigmoid)


def swap_quick_gelus(model: nn.Module) -> None:
    """Replace every QuickGELU below `model`."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is QuickGELU:
                setattr(parent, name, LeanQuickGELU())
