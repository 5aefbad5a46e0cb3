"""Coupled bottlenecks: branches beside the blocks of two towers that meet in one small layer, with a lifted gradient.

    A(x) = s U(S(D(x))),    D = relu(W_d x + b_d),    S = relu(W_s h + b_s),    U = W_u h + b_u
D and U belong to a tower, S to both: Yang et al., "MMA: Multi-Modal Adapter for Vision-Language Models", CVPR 2024.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TowerEnds(nn.Module):
    """What a coupled branch has for one tower: `down` to the shared layer, `up` from it."""

    def __init__(self, width: int, bottleneck: int, device: torch.device):
        super().__init__()
        self.down = he_normal(width, bottleneck, device)
        self.up = he_normal(bottleneck, width, device)


class CoupledBranch(nn.Module):
    """The branch A of one tower: normed rows (..., width) -> what is added to the block's output (..., width).

    Args:
        ends: the tower's own layers.
        shared: the layer S, which the other tower's branch of the same block has too.
        scale: s, which multiplies what is added.
        lifted: whether the weights get the gradient that they would have with s = 1; what arrives at the rows is the
            function's own gradient in either case.
    """

    def __init__(self, ends: TowerEnds, shared: nn.Linear, scale: float, *, lifted: bool):
        super().__init__()
        self.ends, self.shared, self.scale, self.lifted = ends, shared, scale, lifted

    def forward(self, normed: Tensor) -> Tensor:
        """Compute A in the weights' precision if that is higher, because s makes it too small for float16."""
        x = normed.to(torch.promote_types(normed.dtype, self.shared.weight.dtype))
        if self.lifted:
            x = scaled(x, 1.0, self.scale)
        hidden = F.relu(_linear(self.ends.down, x))  # (..., bottleneck)
        hidden = F.relu(_linear(self.shared, hidden))
        added = scaled(_linear(self.ends.up, hidden), self.scale, 1.0 if self.lifted else self.scale)
        return added.to(normed.dtype)


def he_normal(width_in: int, width_out: int, device: torch.device) -> nn.Linear:
    """A linear layer with He et al.'s normal weights by the width that leaves it, and biases 0."""
    layer = nn.Linear(width_in, width_out, device=device)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(layer.bias)
    return layer


def scaled(x: Tensor, forward: float, backward: float) -> Tensor:
    """`forward` times x, to the last bit; its gradient is multiplied by `backward` instead."""
    if forward == backward or not torch.is_grad_enabled():
        return forward * x
    constant = x.detach()
    return forward * constant + backward * (x - constant)  # The second summand is zero and carries the gradient.


def _linear(layer: nn.Linear, x: Tensor) -> Tensor:
    return F.linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))
