"""Tokens that enter a tower in front of one of its blocks, and are set again in front of later ones.

Unlike the prompts of a tower's input they have no position, and the blocks before the first of theirs do without them.
A tower has them in its field `entering`. In the text tower they stand behind [SOS]; the blocks of the vision tower
see no order, and there they stand behind the patches.

Letters: N sequences, L positions, n tokens that enter, D width of the tower.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Entered:
    """The tokens of one pass.

    Args:
        tokens: block -> (n, D) or (N, n, D), the same n in all; they enter in front of the first of these blocks.
        share: of the tokens given, in front of the later blocks of `tokens`; the rest is what the block before put out.
    """

    tokens: Mapping[int, Tensor]
    share: float = 1.0

    def drops_outputs(self, layer: int) -> bool:
        """Whether nothing of what block `layer` makes of the tokens is read."""
        return layer + 1 in self.tokens and self.share == 1

    def in_front_of(self, layer: int, before: Tensor) -> Tensor:
        """What block `layer` reads (N, n, D).

        Args:
            before: the outputs (N, n, D) of the block before, or (N, 0, D) of one that the tokens had not entered yet.
        """
        if layer not in self.tokens:
            return before
        tokens = self.tokens[layer].to(before.dtype).expand(before.shape[0], -1, -1)
        if self.share == 1 or not before.shape[1]:
            return tokens
        return self.share * tokens + (1 - self.share) * before

    def put_in(self, layer: int, x: Tensor, start: int, n: int) -> Tensor:
        """Rows x (N, L, D) with the tokens of block `layer` in place of the n from `start` on; n is 0 at the first."""
        tokens = self.in_front_of(layer, x[:, start : start + n])
        return torch.cat([x[:, :start], tokens, x[:, start + n :]], dim=1)


class Entering(Protocol):
    """What makes the tokens of a tower: a module where it learns."""

    def __call__(self) -> Entered: ...


def grown_mask(mask: Tensor, start: int, n: int, *, is_causal: bool) -> Tensor:
    """A mask (..., L, L) of numbers added to the scores, with n rows more from `start` on: (..., L + n, L + n).

    They see and are seen as the position at `start` is; in a causal tower each sees only those before it.
    """
    order = torch.arange(mask.shape[-1], device=mask.device)
    order = torch.cat([order[:start], order[start : start + 1].expand(n), order[start:]])
    mask = mask.index_select(-2, order).index_select(-1, order)
    return mask + torch.full_like(mask, float("-inf")).triu(1) if is_causal else mask
