"""Attention over the tokens of a tree: the trunk attends to itself, each row of branches to the trunk and itself.

Letters: g groups of learnt tokens, t = P + r * W tokens of one chunk (P trunk, r rows of W), E branches in the fullest
row, H heads, d width of a head, D_t tower width.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.towers import attention


@dataclass(frozen=True)
class TreeTokens:
    """The t = P + r * W tokens of one chunk, with the masks between them."""

    start: int
    trunk_length: int
    mask: Tensor  # (r, W, P + W)
    ends: Tensor  # (r, E)
    end_mask: Tensor  # (r, E, P + W)
    learnt_at: Tensor  # (m,)
    n_entered: int = 0

    def with_entered(self, n: int) -> "TreeTokens":
        """The same with n more tokens behind [SOS], which belong to the trunk: all behind them see them."""
        return replace(
            self,
            trunk_length=self.trunk_length + n,
            mask=F.pad(self.mask, (n, 0), value=True),
            ends=self.ends + n,
            end_mask=F.pad(self.end_mask, (n, 0), value=True),
            learnt_at=self.learnt_at + n,
            n_entered=n,
        )

    @property
    def n_rows(self) -> int:
        return len(self.mask)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Split x (g, t, d) of all tokens into the trunk's (g, P, d) and the rows' (g * r, W, d).

        A single split joins its gradients in one piece; those of two slices would be padded with zeros and added.
        """
        trunk, rows = x.split([self.trunk_length, x.shape[1] - self.trunk_length], dim=1)
        return trunk, rows.unflatten(1, (self.n_rows, -1)).flatten(0, 1)


def attend_tree(attn: attention.AttentionLayer, qkv: Tensor, tokens: TreeTokens) -> Tensor:
    """Attention of every token to its ancestors: qkv (g, t, 3 * D_t) -> (g, t, D_t)."""
    P, groups = tokens.trunk_length, len(qkv)
    of_trunk, of_rows = tokens.split(qkv)
    q, k, v = (attention.split_heads(attn, part) for part in of_trunk.chunk(3, dim=-1))  # (g, H, P, d)
    causal = torch.ones(P, P, dtype=torch.bool, device=qkv.device).tril()
    trunk = attention.attend(attn, q, k, v, causal)
    row_q, row_k, row_v = (attention.split_heads(attn, part) for part in of_rows.chunk(3, dim=-1))
    k, v = _behind_trunk(k, row_k), _behind_trunk(v, row_v)
    branches = attention.attend(attn, row_q, k, v, _per_group(tokens.mask, groups))
    return torch.cat([trunk, branches.unflatten(0, (groups, -1)).flatten(1, 2)], dim=1)


def attend_ends(attn: attention.AttentionLayer, q: Tensor, kv: Tensor, tokens: TreeTokens) -> Tensor:
    """Attention of the ends to their ancestors: q (g, r * E, D_t), kv (g, t, 2 * D_t) -> (g, r * E, D_t)."""
    groups = len(kv)
    of_trunk, of_rows = tokens.split(kv)
    k, v = (attention.split_heads(attn, part) for part in of_trunk.chunk(2, dim=-1))
    row_k, row_v = (attention.split_heads(attn, part) for part in of_rows.chunk(2, dim=-1))
    row_q = attention.split_heads(attn, q.unflatten(1, (tokens.n_rows, -1)).flatten(0, 1))  # (g * r, H, E, d)
    k, v = _behind_trunk(k, row_k), _behind_trunk(v, row_v)
    ends = attention.attend(attn, row_q, k, v, _per_group(tokens.end_mask, groups))
    return ends.unflatten(0, (groups, -1)).flatten(1, 2)


def _behind_trunk(trunk: Tensor, rows: Tensor) -> Tensor:
    """Put the trunk's keys or values (g, H, P, d) before every row's (g * r, H, W, d): (g * r, H, P + W, d)."""
    return torch.cat([trunk.repeat_interleave(len(rows) // len(trunk), dim=0), rows], dim=2)


def _per_group(mask: Tensor, groups: int) -> Tensor:
    """A mask for every group: (r, L, P + W) -> (g * r, 1, L, P + W), or (1, 1, L, P + W), which all groups share."""
    return mask[:, None].repeat(groups, 1, 1, 1) if groups > 1 and len(mask) > 1 else mask[:, None]
