"""Parts of a frozen block with a gain or a bias of their own that learns; the rest is the backbone's."""

import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.towers import attention
from adaptkit.towers.attention import AttentionLayer
from adaptkit.towers.linears import linear


def own_copy(frozen: Tensor) -> nn.Parameter:
    """A learnt parameter that starts as a frozen one, in full precision."""
    return nn.Parameter(at_least_fp32(frozen.detach()).clone())


class TunedNorm(nn.Module):
    """A layer norm whose bias learns, and its gain as well unless `gain` is False; then that is the backbone's.

    Args:
        frozen: the backbone's layer norm, which stays as it is.
    """

    def __init__(self, frozen: nn.LayerNorm, *, gain: bool = True):
        super().__init__()
        self.frozen = frozen
        self.weight = own_copy(frozen.weight) if gain else None
        self.bias = None if frozen.bias is None else own_copy(frozen.bias)

    def start_values(self) -> dict[str, Tensor]:
        """The backbone's gain and bias, where they learn here."""
        found = {"weight": (self.weight, self.frozen.weight), "bias": (self.bias, self.frozen.bias)}
        return {name: at_least_fp32(frozen.detach()) for name, (own, frozen) in found.items() if own is not None}

    def forward(self, x: Tensor) -> Tensor:
        wide = at_least_fp32(x)
        gain = self.frozen.weight if self.weight is None else self.weight
        bias = None if self.bias is None else self.bias.to(wide)
        return F.layer_norm(wide, self.frozen.normalized_shape, gain.to(wide), bias, self.frozen.eps).to(x.dtype)


class TunedBias(nn.Module):
    """A linear layer whose bias learns.

    Args:
        frozen: the backbone's linear layer, which has a bias and stays as it is.
    """

    def __init__(self, frozen: nn.Linear):
        super().__init__()
        self.frozen = frozen
        self.bias = own_copy(frozen.bias)

    @property
    def weight(self) -> Tensor:
        return self.frozen.weight

    def start_values(self) -> dict[str, Tensor]:
        """The backbone's bias."""
        return {"bias": at_least_fp32(self.frozen.bias.detach())}

    def forward(self, x: Tensor) -> Tensor:
        product = linear(x, self.frozen.weight)
        return product + self.bias.to(product)


class OutputOf(nn.Module):
    """An attention layer with another output projection, for the functions of `adaptkit.towers.attention`."""

    def __init__(self, frozen: AttentionLayer, out_proj: nn.Module):
        super().__init__()
        self.frozen, self.out_proj, self.num_heads = frozen, out_proj, frozen.num_heads
        for part in attention.OPTIONAL_PARTS:
            setattr(self, part, getattr(frozen, part, None))

    def project_qkv(self, x: Tensor) -> Tensor:
        """Queries, keys and values of x (..., width) side by side: (..., 3 * width)."""
        return attention.project_qkv(self.frozen, x)

    def project_q(self, x: Tensor) -> Tensor:
        """Queries of x (..., width): (..., width)."""
        return attention.project_q(self.frozen, x)

    def project_kv(self, x: Tensor) -> Tensor:
        """Keys and values of x (..., width) side by side: (..., 2 * width)."""
        return attention.project_kv(self.frozen, x)
