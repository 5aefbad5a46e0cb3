"""A space of learnt tokens that both towers share: its maps into either tower, and the head that reads them back.

With R (n, width) and the blocks l that its tokens are set in front of, for each tower
    separate    t_l = R W_l^T + b_l
    shared      t_l = R (W + A_l B_l)^T + b_l           one W, for each block a residual of low rank
and behind the image tower, with the tokens' normed outputs h_1 .. h_n and the projection P of the backbone
    own         r = mean_i h_i Q
    low_rank    r = mean_i h_i (P + A B)
Guo and Gu, "MMRL: Multi-Modal Representation Learning for Vision-Language Models", arXiv:2503.08497, and "MMRL++",
arXiv:2505.10088.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.towers.entering import Entered
from adaptkit.towers.vision import VisionTower


class LowRank(nn.Module):
    """A product A B (width_out, width_in) of a given rank that starts at zero, and a bias where one is given."""

    def __init__(self, width_in: int, width_out: int, rank: int, device: torch.device, bias: Tensor | None = None):
        super().__init__()
        self.A = nn.Parameter(torch.empty(width_out, rank, device=device))
        self.B = nn.Parameter(torch.zeros(rank, width_in, device=device))
        nn.init.kaiming_uniform_(self.A, a=5**0.5)
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())


class SeparateMaps(nn.ModuleList):
    """A linear layer for each of some blocks: R (n, width) -> their tokens (n, width_out)."""

    def __init__(self, width: int, width_out: int, count: int, device: torch.device):
        super().__init__(nn.Linear(width, width_out, device=device) for _ in range(count))

    def forward(self, space: Tensor) -> list[Tensor]:
        return [layer(space) for layer in self]


class SharedMaps(nn.Module):
    """One matrix for all blocks and a residual for each: R (n, width) -> their tokens (n, width_out).

    The biases start as copies of one.
    """

    def __init__(self, width: int, width_out: int, count: int, rank: int, device: torch.device):
        super().__init__()
        start = nn.Linear(width, width_out, device=device)
        assert start.bias is not None
        self.weight, bias = start.weight, start.bias
        self.residuals = nn.ModuleList(LowRank(width, width_out, rank, device, bias) for _ in range(count))

    def forward(self, space: Tensor) -> list[Tensor]:
        tokens = []
        for residual in self.residuals:
            assert isinstance(residual, LowRank)
            tokens.append(F.linear(space, self.weight + residual.A @ residual.B, residual.bias))
        return tokens


class EnteringSpace(nn.Module):
    """What makes the tokens of one tower, for its field `entering`.

    Args:
        space: R, which the other tower's has too.
        maps: the tower's own.
        layers: the blocks that the maps are of.
        share: of the mapped tokens in front of all of them but the first.
    """

    def __init__(self, space: nn.Parameter, maps: SeparateMaps | SharedMaps, layers: Sequence[int], share: float):
        super().__init__()
        self.space, self.maps, self.layers, self.share = space, maps, tuple(layers), share

    def forward(self) -> Entered:
        return Entered(dict(zip(self.layers, self.maps(self.space), strict=True)), self.share)


class OwnHead(nn.Module):
    """A projection of its own, drawn at random: the tokens' rows (B, n, D_p) -> r (B, D)."""

    def __init__(self, width: int, dim: int, device: torch.device):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, dim, device=device).normal_(std=width**-0.5))

    def forward(self, rows: Tensor, tower: VisionTower) -> Tensor:
        return (rows.mean(dim=1).to(self.weight.dtype) @ self.weight).to(rows.dtype)


class LowRankHead(LowRank):
    """The backbone's projection and a product of low rank: the tokens' rows (B, n, D_p) -> r (B, D)."""

    def __init__(self, width: int, dim: int, rank: int, device: torch.device):
        super().__init__(dim, width, rank, device)

    def forward(self, rows: Tensor, tower: VisionTower) -> Tensor:
        mean = rows.mean(dim=1)
        return _project(tower, mean) + (mean.to(self.A.dtype) @ self.A @ self.B).to(rows.dtype)


def _project(tower: VisionTower, x: Tensor) -> Tensor:
    """The backbone's projection alone: rows (B, D_p) behind the last norm -> (B, D)."""
    if tower.projection is None:
        return x
    projected: Tensor = x @ tower.projection if isinstance(tower.projection, Tensor) else tower.projection(x)
    return projected
