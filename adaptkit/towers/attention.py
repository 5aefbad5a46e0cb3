"""Attention layers taken apart into functions: the only module that knows their insides.

Serves `torch.nn.MultiheadAttention(batch_first=True)`, open_clip's own `Attention`, and any replacement layer that has
the same attributes: `in_proj_weight` (3D, D), `in_proj_bias` (3D,) or None, `out_proj`, `num_heads`, and optionally
those of `OPTIONAL_PARTS`. A replacement layer may instead bring its own `project_qkv(x) -> (..., 3D)`, and `project_q`
and `project_kv` (low-rank adapters do).

Letters: N rows, L queries, S keys, D width, H heads, d = D // H.
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.towers.linears import linear

Projection = tuple[Tensor, Tensor | None]  # Weight (D, D) and bias (D,).

# Norms of queries and keys (per head), a scale (heads, 1, 1), a norm in front of `out_proj`, how positions enter, see
# `timm_blocks.Positions`, and a number that soft-caps the scores.
OPTIONAL_PARTS = ("ln_q", "ln_k", "head_scale", "ln_inner", "positions", "soft_cap")


class AttentionLayer(Protocol):
    """The attributes that every attention layer here has."""

    num_heads: int
    out_proj: nn.Linear

    @property
    def in_proj_weight(self) -> Tensor: ...  # (3D, D)

    @property
    def in_proj_bias(self) -> Tensor | None: ...  # (3D,)


def is_supported(attn: object) -> bool:
    """Whether the functions below compute the same as `attn`."""
    return comes_apart(attn) and getattr(attn, "batch_first", True)


def comes_apart(attn: object) -> bool:
    """Whether the functions below compute with the weights of `attn`, which may itself take positions first."""
    has_packed_projection = getattr(attn, "in_proj_weight", None) is not None or hasattr(attn, "project_qkv")
    # open_clip's scaled cosine attention has a logit scale.
    is_plain_softmax = getattr(attn, "logit_scale", None) is None
    has_extra_keys = getattr(attn, "bias_k", None) is not None or getattr(attn, "add_zero_attn", False)
    return has_packed_projection and is_plain_softmax and not has_extra_keys


def projections(attn: AttentionLayer) -> tuple[Projection, Projection, Projection]:
    """Weights and biases of queries, keys and values, on the memory of the layer's own."""
    own = getattr(attn, "projections", None)
    if own is not None:
        return own()
    biases: tuple[Tensor | None, ...] = (None, None, None)
    if attn.in_proj_bias is not None:
        biases = attn.in_proj_bias.chunk(3)
    q, k, v = zip(attn.in_proj_weight.chunk(3), biases, strict=True)
    return q, k, v


def project_qkv(attn: AttentionLayer, x: Tensor) -> Tensor:
    """Queries, keys and values of x (..., D) side by side: (..., 3D)."""
    own = getattr(attn, "project_qkv", None)
    if own is not None:
        return own(x)
    return linear(x, attn.in_proj_weight, attn.in_proj_bias)


def project_q(attn: AttentionLayer, x: Tensor) -> Tensor:
    """Queries of x (..., D): (..., D)."""
    own = getattr(attn, "project_q", None)
    if own is not None:
        return own(x)
    return _project_part(attn, x, slice(0, x.shape[-1]))


def project_kv(attn: AttentionLayer, x: Tensor) -> Tensor:
    """Keys and values of x (..., D) side by side: (..., 2D)."""
    own = getattr(attn, "project_kv", None)
    if own is not None:
        return own(x)
    return _project_part(attn, x, slice(x.shape[-1], 3 * x.shape[-1]))


def _project_part(attn: AttentionLayer, x: Tensor, part: slice) -> Tensor:
    own = getattr(attn, "project_qkv", None)
    if own is not None:
        return own(x)[..., part]
    bias = attn.in_proj_bias
    return linear(x, attn.in_proj_weight[part], None if bias is None else bias[part])


def split_heads(attn: AttentionLayer, x: Tensor) -> Tensor:
    """Split heads: (..., L, D) -> (..., H, L, d)."""
    return x.unflatten(-1, (attn.num_heads, -1)).transpose(-3, -2)


def norm_heads(attn: AttentionLayer, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """Queries (N, H, L, d) and keys (N, H, S, d) behind the norms that some layers have for them."""
    ln_q, ln_k = getattr(attn, "ln_q", None), getattr(attn, "ln_k", None)
    return (q, k) if ln_q is None or ln_k is None else (ln_q(q), ln_k(k))


def attend(attn: AttentionLayer, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, start: int = 0) -> Tensor:
    """Softmax attention over heads, without the output projection: (N, H, L, d) x (N, H, S, d) -> (N, L, D).

    Args:
        mask: boolean, broadcastable to (N, H, L, S); True where a query may see a key. Or numbers that the scores gain.
            Layers with `positions` take none.
        start: number of rows in front of the first query's.
    """
    _, _, head_scale, _, positions, soft_cap = (getattr(attn, part, None) for part in OPTIONAL_PARTS)
    q, k = norm_heads(attn, q, k)
    if positions is not None:
        q, k, mask = positions(q, k, start)
    if soft_cap is None:
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    else:
        x = _soft_capped(q, k, v, mask, soft_cap)
    if head_scale is not None:
        x = x * head_scale
    return x.transpose(-3, -2).flatten(-2)


def _soft_capped(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, cap: float) -> Tensor:
    """Softmax attention whose scores a become cap * tanh(a / cap), before the mask: (N, H, L, d)."""
    scores = cap * torch.tanh(q @ k.transpose(-2, -1) / (q.shape[-1] ** 0.5 * cap))
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(dim=-1) @ v


def project_out(attn: AttentionLayer, x: Tensor) -> Tensor:
    """Attention output (..., D) -> residual update (..., D)."""
    ln_inner = getattr(attn, "ln_inner", None)
    if ln_inner is not None:
        x = ln_inner(x)
    # `nn.MultiheadAttention` reads the weights of its out_proj and never calls it; we do the same.
    if isinstance(attn, nn.MultiheadAttention):
        return linear(x, attn.out_proj.weight, attn.out_proj.bias)
    return attn.out_proj(x)
