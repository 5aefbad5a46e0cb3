"""LLaMA's transformer block as the paper runs it on visual tokens (Pang et al., arXiv:2310.12973, released code).

    rms(x) = x / sqrt(mean x^2 + 1e-6) * weight
    h   = x + attention(rms(x)) Wo,           over all tokens, without mask, rotary positions or biases
    out = h + (silu(rms(h) V1) * rms(h) V3) V2
One or several blocks follow each other, and a final rms norm them. Parameters have the names of LLaMA's own files.

Departure: the released code never loads the weight of the final norm, so that it stays at ones; here it is loaded where
    the tensors have one.
"""

import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.wrappers.lm4visual.step import Between

EPS = 1e-6
BLOCK_TENSORS = (
    *(f"attention.w{part}.weight" for part in "qkvo"),
    *(f"feed_forward.w{part}.weight" for part in "123"),
    "attention_norm.weight",
    "ffn_norm.weight",
)


def gated_width(width: int, multiple_of: int = 256) -> int:
    """Width inside LLaMA's gated MLP: two thirds of 4 times the width, rounded up to a multiple."""
    return multiple_of * -(-int(2 * 4 * width / 3) // multiple_of)


class RMSNorm(nn.Module):
    """A norm without centring: x (..., width) -> x / sqrt(mean x^2 + 1e-6) * weight."""

    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * (x.square().mean(dim=-1, keepdim=True) + EPS).rsqrt() * self.weight


class Attention(nn.Module):
    """Attention of all tokens to all: x (B, n, width) -> (B, n, width)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(self, x: Tensor, gain: Tensor | None = None) -> Tensor:
        q, k, v = (part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.wq, self.wk, self.wv))
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=gain)  # (B, H, n, width / H)
        return self.wo(found.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """The gated MLP: x (..., width) -> (..., width)."""

    def __init__(self, width: int, inside: int):
        super().__init__()
        self.w1, self.w3 = (nn.Linear(width, inside, bias=False) for _ in range(2))
        self.w2 = nn.Linear(inside, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class LlamaBlock(nn.Module):
    """One block: x (B, n, width) -> (B, n, width)."""

    def __init__(self, width: int, heads: int, inside: int):
        super().__init__()
        self.attention, self.feed_forward = Attention(width, heads), FeedForward(width, inside)
        self.attention_norm, self.ffn_norm = RMSNorm(width), RMSNorm(width)

    def forward(self, x: Tensor, gain: Tensor | None = None) -> Tensor:
        x = x + self.attention(self.attention_norm(x), gain)
        return x + self.feed_forward(self.ffn_norm(x))


class LlamaBlocks(Between):
    """Frozen blocks in order, and the final norm: x (B, n, width) -> (B, n, width).

    Args:
        inside: width inside the gated MLPs; None for LLaMA's own.
        depth: number of blocks; the paper has one.

    Raises:
        ValueError: if the heads do not divide the width.
    """

    def __init__(self, width: int, heads: int, inside: int | None = None, depth: int = 1):
        super().__init__()
        if width % heads:
            raise ValueError(f"heads={heads} do not divide width={width}; give a divisor of the width")
        self.width = width
        inside = gated_width(width) if inside is None else inside
        self.layers = nn.ModuleList(LlamaBlock(width, heads, inside) for _ in range(depth))
        self.norm = RMSNorm(width)
        self.requires_grad_(False)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], heads: int, first_layer: int = 0) -> "LlamaBlocks":
        """Blocks with the tensors of a LLaMA file, such as `layers.31.attention.wq.weight`; others are left alone.

        Args:
            first_layer: the first block that is taken, with all behind it; the paper takes 31 of 0 to 31.

        Raises:
            ValueError: if there is no such block, or a block is not whole.
        """
        numbers = sorted({int(found[1]) for name in tensors if (found := re.match(r"layers\.(\d+)\.", name))})
        taken = [number for number in numbers if number >= first_layer]
        if not taken:
            raise ValueError(f"first_layer={first_layer}; the tensors have the blocks {numbers}, take one of these")
        state = {"norm.weight": tensors["norm.weight"]} if "norm.weight" in tensors else {}
        for place, number in enumerate(taken):
            start = f"layers.{number}."
            own = {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
            if missing := [name for name in BLOCK_TENSORS if name not in own]:
                raise ValueError(f"block {number} has no {missing[0]}; give the tensors of whole blocks")
            state |= {f"layers.{place}.{name}": own[name] for name in BLOCK_TENSORS}
        first = state["layers.0.feed_forward.w1.weight"]  # (inside, width)
        made = cls(first.shape[1], heads, first.shape[0], len(taken)).to(first.dtype)
        made.load_state_dict({"norm.weight": made.norm.weight} | state)
        return made

    def forward(self, x: Tensor, gain: Tensor | None = None, wanted: int | None = None) -> Tensor:
        for block in self.layers:
            x = block(x, gain)
        return self.norm(x[:, :wanted])

    def macs(self, rows: int) -> int:
        weights = sum(weight.numel() for weight in self.layers.parameters() if weight.ndim == 2)
        return rows * weights + len(self.layers) * 2 * rows * rows * self.width
