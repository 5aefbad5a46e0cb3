"""The insides of an attention layer: the only module that knows them.

Serves `torch.nn.MultiheadAttention(batch_first=True)`, open_clip's own `Attention`, and any replacement layer that has
the same attributes: `in_proj_weight` (3D, D), `in_proj_bias` (3D,) or None, `out_proj`, `num_heads`, and optionally
`ln_q`, `ln_k` (per head), `head_scale` (heads, 1, 1) and `ln_inner`. A replacement layer may instead bring its own
`project_qkv(x) -> (..., 3D)` (low-rank adapters do).

Letters: N rows, L queries, S keys, D width, H heads, d = D // H.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.linears import linear


def is_supported(attn: nn.Module) -> bool:
    """Whether the functions below compute what `attn` computes."""
    has_packed_projection = getattr(attn, "in_proj_weight", None) is not None or hasattr(attn, "project_qkv")
    is_plain_softmax = getattr(attn, "logit_scale", None) is None  # open_clip's scaled cosine attention has one
    has_extra_keys = getattr(attn, "bias_k", None) is not None or getattr(attn, "add_zero_attn", False)
    return has_packed_projection and is_plain_softmax and not has_extra_keys and getattr(attn, "batch_first", True)


def project_qkv(attn: nn.Module, x: Tensor) -> Tensor:
    """Queries, keys and values of x (..., D) side by side: (..., 3D)."""
    if hasattr(attn, "project_qkv"):
        return attn.project_qkv(x)
    return linear(x, attn.in_proj_weight, attn.in_proj_bias)


def project_q(attn: nn.Module, x: Tensor) -> Tensor:
    """Queries of x (..., D): (..., D)."""
    return _project_part(attn, x, slice(0, x.shape[-1]))


def project_kv(attn: nn.Module, x: Tensor) -> Tensor:
    """Keys and values of x (..., D) side by side: (..., 2D)."""
    return _project_part(attn, x, slice(x.shape[-1], 3 * x.shape[-1]))


def _project_part(attn: nn.Module, x: Tensor, part: slice) -> Tensor:
    if hasattr(attn, "project_qkv"):
        return attn.project_qkv(x)[..., part]
    bias = attn.in_proj_bias
    return linear(x, attn.in_proj_weight[part], None if bias is None else bias[part])


def split_heads(attn: nn.Module, x: Tensor) -> Tensor:
    """(..., L, D) -> (..., H, L, d)."""
    return x.unflatten(-1, (attn.num_heads, -1)).transpose(-3, -2)


def attend(attn: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax attention over heads, without the output projection: (N, H, L, d) x (N, H, S, d) -> (N, L, D).

    Args:
        mask: boolean, broadcastable to (N, H, L, S); True where a query may see a key.
    """
    if getattr(attn, "ln_q", None) is not None:
        q, k = attn.ln_q(q), attn.ln_k(k)
    x = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    if getattr(attn, "head_scale", None) is not None:
        x = x * attn.head_scale
    return x.transpose(-3, -2).flatten(-2)


def project_out(attn: nn.Module, x: Tensor) -> Tensor:
    """Attention output (..., D) -> residual update (..., D)."""
    if getattr(attn, "ln_inner", None) is not None:
        x = attn.ln_inner(x)
    if isinstance(attn, nn.MultiheadAttention):  # it never calls its own out_proj; keep to the weights it reads
        return linear(x, attn.out_proj.weight, attn.out_proj.bias)
    return attn.out_proj(x)
