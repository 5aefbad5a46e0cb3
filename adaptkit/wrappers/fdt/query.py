"""Query networks: patch or word features -> queries to the codebook."""

import torch.nn.functional as F
from torch import Tensor, nn


class QueryNetwork(nn.Sequential):
    """The published query (Chen et al., arXiv:2303.14865): Lin_2(LN(GELU(Lin_1(LN(x))))), (..., width) -> (..., d)."""

    def __init__(self, width: int, d: int):
        super().__init__(nn.LayerNorm(width), nn.Linear(width, d), nn.GELU(), nn.LayerNorm(d), nn.Linear(d, d))


class ResidualQuery(nn.Module):
    """A low-rank change of given queries: U GELU(V LN(x)), (..., width) -> (..., d), zero at the start."""

    def __init__(self, width: int, rank: int, d: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.down, self.up = nn.Linear(width, rank), nn.Linear(rank, d)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(F.gelu(self.down(self.norm(x))))
