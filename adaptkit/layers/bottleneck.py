"""Bottleneck adapters: a small residual network behind or beside a sublayer of a block; it starts at zero.

    A(x) = s (W_up act(W_down x + b_down) + b_up),    W_up and b_up zero at the start
Houlsby et al., arXiv:1902.00751, have it behind a sublayer; Chen et al., arXiv:2205.13535, beside the MLP.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Bottleneck(nn.Module):
    """The bottleneck A: x (..., width) -> A(x) (..., width)."""

    def __init__(
        self,
        width: int,
        bottleneck: int,
        device: torch.device,
        activation: Literal["relu", "gelu"] = "relu",
        *,
        scale: float = 1.0,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.down = nn.Linear(width, bottleneck, device=device)
        self.up = nn.Linear(bottleneck, width, device=device)
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)
        self.activation = nn.ReLU() if activation == "relu" else nn.GELU()
        self.dropout, self.scale = nn.Dropout(dropout), scale

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.linear(x, self.down.weight.to(x.dtype), self.down.bias.to(x.dtype))
        hidden = self.dropout(self.activation(hidden))  # (..., bottleneck)
        return self.scale * F.linear(hidden, self.up.weight.to(x.dtype), self.up.bias.to(x.dtype))


class Behind(nn.Module):
    """A serial adapter: a sublayer's update, scaled if its block does so, plus A of that update."""

    def __init__(self, layer_scale: nn.Module, adapter: nn.Module):
        super().__init__()
        self.layer_scale, self.adapter = layer_scale, adapter

    def forward(self, update: Tensor) -> Tensor:
        update = self.layer_scale(update)
        return update + self.adapter(update)


class Beside(nn.Module):
    """A parallel adapter: the MLP's half of a block from its layer norm on, plus A of the half's input."""

    def __init__(self, ln: nn.Module, mlp: nn.Module, layer_scale: nn.Module, adapter: nn.Module):
        super().__init__()
        self.ln, self.mlp, self.layer_scale, self.adapter = ln, mlp, layer_scale, adapter

    def forward(self, x: Tensor) -> Tensor:
        return self.layer_scale(self.mlp(self.ln(x))) + self.adapter(x)
