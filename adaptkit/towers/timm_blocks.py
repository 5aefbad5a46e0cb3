"""Blocks of timm's vision transformers in the words of `adaptkit.towers.block`: the same layers under other names.

What a block computes is told by its parts: projections packed or apart, biases of queries and values alone, norms in
front of a sublayer or behind it, norms of queries and keys, scales of the updates, and positions that enter through
attention. Blocks with other parts are refused by `whats_wrong`.

Letters: N images, H heads, L queries, S keys, d width of a head, D width of the tower, P patches.
"""

from collections.abc import Callable
from typing import Any, Protocol

import timm.models.eva as timm_eva
import timm.models.vision_transformer as timm_vit
import timm.models.vision_transformer_relpos as timm_relpos
import torch
import torch.nn.functional as F
from timm.layers import apply_rot_embed_cat
from torch import Tensor, nn

from adaptkit.towers.attention import AttentionLayer, Projection
from adaptkit.towers.block import run_block

Timm = Any  # A module of timm's, whose attributes `whats_wrong` has checked.

POST_NORM = timm_eva.EvaBlockPostNorm
BLOCKS = (timm_vit.Block, timm_eva.EvaBlock, POST_NORM, timm_relpos.RelPosBlock)
# AttentionRope came with timm 1.0.16.
ATTENTIONS = tuple(
    getattr(module, name)
    for module, name in (
        (timm_vit, "Attention"),
        (timm_eva, "EvaAttention"),
        (timm_eva, "AttentionRope"),
        (timm_relpos, "RelPosAttention"),
    )
    if hasattr(module, name)
)


class Positions(Protocol):
    """How positions enter attention."""

    def __call__(self, q: Tensor, k: Tensor, start: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Queries (N, H, L, d) of the rows from `start` on, all keys (N, H, S, d) -> both, and what scores gain."""
        ...


class RotaryPositions(nn.Module):
    """Queries and keys of patches, rotated by their place in the grid; prefix tokens and prompts stay.

    Args:
        rope: timm's rotary embedding.
        grid: rows and columns of patches.
        n_prefix: number of class and register tokens in front of the patches.
        by_halves: whether the pairs to rotate are the halves of a head, or neighbours.
    """

    def __init__(self, rope: Timm, grid: tuple[int, int], n_prefix: int, by_halves: bool):
        super().__init__()
        self.rope, self.grid, self.n_prefix = rope, grid, n_prefix
        self.options = {"half": True} if by_halves else {}

    def forward(self, q: Tensor, k: Tensor, start: int) -> tuple[Tensor, Tensor, None]:
        fixed = getattr(self.rope, "feat_shape", None) is not None
        angles = self.rope.get_embed() if fixed else self.rope.get_embed(shape=list(self.grid))  # (P, 2 d)
        return self._rotated(q, angles, start), self._rotated(k, angles, 0), None

    def _rotated(self, x: Tensor, angles: Tensor, start: int) -> Tensor:
        first = max(self.n_prefix - start, 0)
        last = min(self.n_prefix + len(angles) - start, x.shape[-2])
        if last <= first:
            return x
        at = first + start - self.n_prefix
        turned = apply_rot_embed_cat(x[..., first:last, :], angles[at : at + last - first], **self.options)
        return torch.cat([x[..., :first, :], turned.to(x.dtype), x[..., last:, :]], dim=-2)


class RelativePositions(nn.Module):
    """Scores that gain a learnt number for the way from a query's place to a key's; to and from prompts none.

    Args:
        table: timm's relative position bias or network.
    """

    def __init__(self, table: Timm):
        super().__init__()
        self.table = table

    def forward(self, q: Tensor, k: Tensor, start: int) -> tuple[Tensor, Tensor, Tensor]:
        gain = self.table.get_bias().to(q.dtype)  # (1, H, R, R)
        n_prompts = k.shape[-2] - gain.shape[-1]
        gain = F.pad(gain, (0, n_prompts, 0, n_prompts))
        return q, k, gain[..., start : start + q.shape[-2], :]


class PackedAttention(nn.Module):
    """A timm attention layer whose queries, keys and values come from one layer, `qkv`.

    Args:
        source: the layer; EVA's have biases of queries and values alone.
    """

    def __init__(self, source: Timm, positions: nn.Module | None):
        super().__init__()
        self.qkv, self.out_proj, self.num_heads, self.positions = source.qkv, source.proj, source.num_heads, positions
        self.q_bias, self.v_bias = getattr(source, "q_bias", None), getattr(source, "v_bias", None)
        _add_norms(self, source)

    @property
    def in_proj_weight(self) -> Tensor:
        return self.qkv.weight  # (3D, D)

    @property
    def in_proj_bias(self) -> Tensor | None:
        if self.q_bias is None or self.v_bias is None:
            return self.qkv.bias
        return torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])  # (3D,)

    def projections(self) -> tuple[Projection, Projection, Projection]:
        """Weight (D, D) and bias (D,) of queries, keys and values, on the memory of the layer's own."""
        biases = (self.q_bias, None, self.v_bias)
        if self.qkv.bias is not None:
            biases = self.qkv.bias.chunk(3)
        q, k, v = zip(self.qkv.weight.chunk(3), biases, strict=True)
        return q, k, v


class ApartAttention(nn.Module):
    """A timm attention layer with one layer each for queries, keys and values."""

    def __init__(self, source: Timm, positions: nn.Module | None):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = source.q_proj, source.k_proj, source.v_proj
        self.out_proj, self.num_heads, self.positions = source.proj, source.num_heads, positions
        _add_norms(self, source)

    @property
    def in_proj_weight(self) -> Tensor:
        """A copy of the three weights in one, (3D, D)."""
        return torch.cat([weight for weight, _ in self.projections()])

    @property
    def in_proj_bias(self) -> Tensor | None:
        parts = self.projections()
        if all(bias is None for _, bias in parts):
            return None
        return torch.cat([weight.new_zeros(len(weight)) if bias is None else bias for weight, bias in parts])

    def projections(self) -> tuple[Projection, Projection, Projection]:
        """Weight (D, D) and bias (D,) of queries, keys and values."""
        q, k, v = ((layer.weight, layer.bias) for layer in (self.q_proj, self.k_proj, self.v_proj))
        return q, k, v

    def project_qkv(self, x: Tensor) -> Tensor:
        """Queries, keys and values of x (..., D) side by side: (..., 3D)."""
        return torch.cat([self.q_proj(x), self.k_proj(x), self.v_proj(x)], dim=-1)

    def project_q(self, x: Tensor) -> Tensor:
        """Queries of x (..., D): (..., D)."""
        return self.q_proj(x)

    def project_kv(self, x: Tensor) -> Tensor:
        """Keys and values of x (..., D) side by side: (..., 2D)."""
        return torch.cat([self.k_proj(x), self.v_proj(x)], dim=-1)


class ChannelScale(nn.Module):
    """A learnt factor for each channel: x (..., D) -> (..., D)."""

    def __init__(self, gamma: nn.Parameter):
        super().__init__()
        self.gamma = gamma

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class TimmBlock(nn.Module):
    """A timm block over the same layers, under the names that `adaptkit.towers.block` runs.

    Args:
        source: a block without faults, see `whats_wrong`.
        positions: how positions enter its attention, or None.
    """

    ln_1: Callable[[Tensor], Tensor]
    attn: AttentionLayer
    ln_2: Callable[[Tensor], Tensor]
    mlp: nn.Module
    ls_1: nn.Module | None
    ls_2: nn.Module | None

    def __init__(self, source: Timm, positions: nn.Module | None):
        super().__init__()
        norms = source.norm1, source.norm2
        is_post = type(source) is POST_NORM
        self.ln_1, self.ln_2 = (nn.Identity(), nn.Identity()) if is_post else norms
        packed = source.attn.qkv is not None
        self.attn = (PackedAttention if packed else ApartAttention)(source.attn, positions)
        self.mlp = source.mlp
        self.ls_1, self.ls_2 = norms if is_post else (_scale(source, number) for number in "12")

    def forward(self, x: Tensor, *, attn_mask: Tensor | None = None) -> Tensor:
        """Run the block: x (N, L, D) -> (N, L, D)."""
        return run_block(self, x, attn_mask)


def whats_wrong(block: Timm) -> str:
    """What keeps `TimmBlock` from computing the same as a block; empty if nothing does."""
    if type(block) not in BLOCKS:
        return f"its blocks are timm's {type(block).__name__}"
    attn = block.attn
    if type(attn) not in ATTENTIONS:
        return f"its attention is timm's {type(attn).__name__}"
    width = attn.proj.out_features
    queries = attn.qkv.out_features // 3 if attn.qkv is not None else attn.q_proj.out_features
    keys = queries if attn.qkv is not None else attn.k_proj.out_features
    if getattr(attn, "gate", None) is not None:
        return "its attention has gates"
    if (queries, keys) != (width, width):
        return f"its attention has queries {queries} wide and keys {keys} wide in a tower {width} wide"
    return ""


def _add_norms(attn: nn.Module, source: Timm) -> None:
    """Give a layer the norms of queries, keys and output that its source has."""
    for name, part in (("ln_q", "q_norm"), ("ln_k", "k_norm"), ("ln_inner", "norm")):
        norm = getattr(source, part, None)
        setattr(attn, name, None if isinstance(norm, nn.Identity) else norm)


def _scale(block: Timm, number: str) -> nn.Module | None:
    """The scale of a block's first or second update, which timm keeps as a layer or, in EVA, as a parameter."""
    gamma = getattr(block, f"gamma_{number}", None)
    layer = getattr(block, f"ls{number}", None) if gamma is None else ChannelScale(gamma)
    return None if isinstance(layer, nn.Identity) else layer
