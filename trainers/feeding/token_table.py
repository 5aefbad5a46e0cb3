"""Stored output rows of a frozen image tower: the class token's row exactly in fp32, the patches' rows in fp16.

The global feature is a function of the class token's row, so methods on features learn and answer the same whether
they are fed from here or from a table of features. Patch rows, a hundred times as many, are rounded to fp16 (11 bits).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

MOST_BYTES = 8 * 2**30  # bytes of the largest table; rows that would not fit are encoded whenever they are shown


def packed_width(n_rows: int, width: int) -> int:
    """Number of fp16 columns that 1 + P = `n_rows` rows of `width` take."""
    return 2 * width + (n_rows - 1) * width


def pack(tokens: Tensor) -> Tensor:
    """Rows (B, 1 + P, D_v) -> (B, packed_width) fp16; the first 2 D_v columns are the bits of the class token's row."""
    exact = tokens[:, 0].float().contiguous().view(torch.float16)
    return torch.cat([exact, tokens[:, 1:].to(torch.float16).flatten(1)], dim=1)


def unpack(packed: Tensor, width: int) -> Tensor:
    """Undo `pack`: (..., packed_width) fp16 -> rows (..., 1 + P, D_v) fp32."""
    exact = packed[..., : 2 * width].contiguous().view(torch.float32)
    return torch.cat([exact.unsqueeze(-2), packed[..., 2 * width :].float().unflatten(-1, (-1, width))], dim=-2)


@dataclass(frozen=True)
class TokenTable:
    """Packed rows (N, V, columns) of N images with V views each, mostly on disk."""

    packed: Tensor
    width: int  # D_v

    def __getitem__(self, index: Tensor | tuple[Tensor, Tensor]) -> Tensor:
        """Rows (n, ..., 1 + P, D_v) fp32 of the chosen images, or of the chosen (images, views)."""
        return unpack(self.packed[index], self.width)

    @property
    def device(self) -> torch.device:
        return self.packed.device
