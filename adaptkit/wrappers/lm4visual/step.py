"""The step from visual tokens through a frozen language block (Pang et al., arXiv:2310.12973), and our gate around it.

    x1 = x W1,   x2 = Block_L(x1),   x3 = x2 W2       the paper's, which has no residual
    x' = x + gamma x3,   gamma = 0 at the start       ours

Letters: B images, n tokens, d width of the image tower, d_L width of the language block.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from adaptkit.layers.full_precision import at_least_fp32, run_as
from adaptkit.wrappers.lm4visual.config import Gate

INIT_STD = 0.02
Run = Callable[[Tensor, Tensor | None, int | None], Tensor]


class Between(nn.Module, ABC):
    """What stands between the maps."""

    width: int  # d_L

    @abstractmethod
    def forward(self, x: Tensor, gain: Tensor | None = None, wanted: int | None = None) -> Tensor:
        """Mapped tokens (B, n, d_L) -> (B, n, d_L), or (B, wanted, d_L).

        Args:
            gain: what the scores of tokens as keys gain, (B, 1, 1, n); None for nothing.
            wanted: number of tokens at the front whose outputs are computed; None for all.
        """

    @abstractmethod
    def macs(self, rows: int) -> int:
        """Multiply-accumulates for so many tokens of an image."""


def through_block(
    x: Tensor, w1: Tensor, block: Run, w2: Tensor, gain: Tensor | None = None, wanted: int | None = None
) -> Tensor:
    """The paper's x3 (B, n, d) of visual tokens x (B, n, d).

    Args:
        w1, w2: the maps (d, d_L) and (d_L, d).
        block: Block_L with its final norm, called as a `Between` is.
        gain, wanted: handed on to the block.
    """
    return block(x @ w1, gain, wanted) @ w2


class LanguageStep(nn.Module):
    """Tokens x (B, n, d) -> x + gamma x3; W1, W2 and the gate learn.

    All of it is computed in float32 at least, because a text block in half precision may overflow on image tokens.

    Args:
        width: d.
        block: what stands between the maps, frozen.
        gate_rate: gamma is this times the learnt number.
    """

    def __init__(self, width: int, block: Between, gate: Gate = "scalar", gate_rate: float = 1.0):
        super().__init__()
        self.block, self.gate_rate = block, gate_rate
        self.w1 = nn.Parameter(nn.init.trunc_normal_(torch.empty(width, block.width), std=INIT_STD))
        self.w2 = nn.Parameter(nn.init.trunc_normal_(torch.empty(block.width, width), std=INIT_STD))
        self.gamma = nn.Parameter(torch.zeros(width if gate == "channel" else 1))

    @property
    def is_closed(self) -> bool:
        """Whether gamma is zero, so that nothing is changed and the maps have not learnt."""
        return not bool(self.gamma.any())

    def added(self, x: Tensor, gain: Tensor | None = None, wanted: int | None = None) -> Tensor:
        """What the gate multiplies, x3 (B, n, d) or (B, wanted, d), in float32 at least."""
        x = at_least_fp32(x)
        return through_block(x, self.w1.to(x.dtype), partial(run_as, self.block), self.w2.to(x.dtype), gain, wanted)

    def forward(self, x: Tensor, gain: Tensor | None = None, wanted: int | None = None) -> Tensor:
        update = self.added(x, gain, wanted)
        return x[:, :wanted] + (self.gate_rate * self.gamma.to(update.dtype) * update).to(x.dtype)

    def macs(self, rows: int) -> int:
        """Multiply-accumulates for so many tokens of an image."""
        return rows * (self.w1.numel() + self.w2.numel()) + self.block.macs(rows)


class OneTokenStep(nn.Module):
    """The step for image features (..., D), each as a sequence of one token, for which attention is trivial."""

    def __init__(self, step: LanguageStep):
        super().__init__()
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        stepped: Tensor = self.step(x.reshape(-1, 1, x.shape[-1]))
        return stepped.reshape(x.shape)

    def macs(self, rows: int) -> int:
        """Multiply-accumulates for so many features of an image."""
        return rows * self.step.macs(1)
