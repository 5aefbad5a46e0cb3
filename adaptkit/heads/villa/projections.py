"""Projections h_a of region features, one for each attribute or one for all, and their cosines with attributes.

    h_a(r) = W2 ReLU(W1 r + b1) + b2                    W1 (H, D), W2 (D, H)
    p_a(r) = (1 - keep) h_a(r) + keep r                 keep 0 for a plain head, 0.8 for the adapter form
    cos[r, a] = < n(p_a(r)), t_a >
Heads of H = D have 2 D^2 weights each. Many attributes are taken in pieces, which are computed again on the way back,
so that the memory does not grow with their number.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

NUMBERS_AT_ONCE = 2**24  # of the projections (regions, attributes, D) that exist together: 64 MiB


class Projections(nn.Module):
    """The heads: `pool.a.0` and `pool.a.2` are the two layers of head a.

    Args:
        width: D of region features.
        count: heads: as many as attributes, or 1 for all.
        hidden: H; D as in the paper, or less for a low-rank head.
        keep: share of the region feature that stays.
    """

    def __init__(self, width: int, count: int, hidden: int | None = None, keep: float = 0.0):
        super().__init__()
        hidden = width if hidden is None else hidden
        self.keep = keep
        self.pool = nn.ModuleList(
            nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width)) for _ in range(count)
        )

    def forward(self, regions: Tensor, heads: Sequence[int] | None = None) -> Tensor:
        """Region features (R, D) -> projections (R, H, D) by some of the heads, or by all.

        Args:
            heads: numbers of the H heads; the others get no gradient.
        """
        chosen = [self.pool[head] for head in (range(len(self.pool)) if heads is None else heads)]
        down_weight, down_bias, up_weight, up_bias = (
            torch.stack([getattr(head[layer], part) for head in chosen]).to(regions)  # type: ignore[index]
            for layer in (0, 2)
            for part in ("weight", "bias")
        )
        hidden = F.relu(torch.einsum("rd,ahd->rah", regions, down_weight) + down_bias)
        projected = torch.einsum("rah,adh->rad", hidden, up_weight) + up_bias
        return (1 - self.keep) * projected + self.keep * regions[:, None] if self.keep else projected

    def cosines(self, regions: Tensor, texts: Tensor, heads: Sequence[int] | None = None) -> Tensor:
        """Region features (R, D) and unit attribute embeddings (A, D) -> cosines (R, A).

        Args:
            heads: number of the head of each attribute, (A,); None for the attributes in the order of the heads. One
                head alone is that of all attributes, whatever they are.

        Raises:
            ValueError: if there are not as many heads as attributes.
        """
        if len(self.pool) == 1:
            return F.normalize(self(regions)[:, 0], dim=-1) @ texts.T
        numbers = list(range(len(self.pool))) if heads is None else list(heads)
        if len(numbers) != len(texts):
            raise ValueError(f"{len(texts)} attributes for {len(numbers)} heads; give an attribute for each head")
        step = max(1, NUMBERS_AT_ONCE // max(1, regions.numel()))
        if step >= len(numbers):
            return self._piece(regions, texts, numbers)
        pieces = []
        for at in range(0, len(numbers), step):
            given = (regions, texts[at : at + step], numbers[at : at + step])
            if torch.is_grad_enabled():
                pieces.append(checkpoint(self._piece, *given, use_reentrant=False))
            else:
                pieces.append(self._piece(*given))
        return torch.cat(pieces, dim=1)

    def _piece(self, regions: Tensor, texts: Tensor, heads: Sequence[int]) -> Tensor:
        return attribute_cosines(self(regions, heads), texts)


def attribute_cosines(projected: Tensor, texts: Tensor) -> Tensor:
    """Projections (R, A, D) by the heads of A attributes, and unit embeddings (A, D) of these -> cosines (R, A)."""
    return torch.einsum("rad,ad->ra", F.normalize(projected, dim=-1), texts)
