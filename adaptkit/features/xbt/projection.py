"""The projection phi of XBT: features of a new model -> the space of an old one.

    phi(x) = x A + W_2 gelu(LN(W_1 x + b_1)) + b_2,   p(x) = phi(x) / |phi(x)|
A (d_n, d_o) starts at the best linear map between the two models, W_2 and b_2 at zero; so phi starts as that map.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.features.xbt.alignment import least_squares, procrustes, unit

Start = Literal["procrustes", "least_squares"]
STARTS = {"procrustes": procrustes, "least_squares": least_squares}
FITTED_ROWS = 10_000  # rows that the start is fitted on
TIMES_WIDER = 4  # the hidden layer, than the new space


class Projection(nn.Module):
    """The map phi, (B, d_n) -> (B, d_o).

    Args:
        skip: where A starts, (d_n, d_o); a copy is learnt.
        hidden: width of the hidden layer; 0 for four times d_n.
    """

    def __init__(self, skip: Tensor, hidden: int = 0):
        super().__init__()
        width_in, width_out = skip.shape
        hidden = hidden or TIMES_WIDER * width_in
        self.skip = nn.Parameter(skip.detach().clone().float())
        self.first, self.norm = nn.Linear(width_in, hidden), nn.LayerNorm(hidden)
        self.second = nn.Linear(hidden, width_out)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)
        self.to(skip.device)

    @property
    def widths(self) -> tuple[int, int]:
        """The widths d_n and d_o."""
        return int(self.skip.shape[0]), int(self.skip.shape[1])

    @property
    def hidden(self) -> int:
        """Width of the hidden layer."""
        return self.first.out_features

    def forward(self, rows: Tensor) -> Tensor:
        """Unit rows (B, d_n) -> phi (B, d_o), of any length."""
        return rows @ self.skip + self.second(F.gelu(self.norm(self.first(rows))))

    def project(self, features: Tensor) -> Tensor:
        """Features (B, d_n) of any length -> unit rows p (B, d_o)."""
        return F.normalize(self(unit(features)), dim=-1)


def start_projection(
    new_texts: Tensor, old_texts: Tensor, start: Start = "procrustes", hidden: int = 0, seed: int = 1
) -> Projection:
    """A projection that is the best linear map between two models on texts.

    Args:
        new_texts: features (N, d_n) of the new model.
        old_texts: features (N, d_o) of the old model, of the same texts.
        start: which linear map is the best.
        hidden: width of the hidden layer; 0 for four times d_n.
        seed: of the rows that are fitted, 10,000 of them where there are more, and of the hidden layer.

    Example:
        ```python
        import torch
        from adaptkit.features.xbt import start_projection

        new = torch.randn(100, 8)
        phi = start_projection(new, new)
        assert torch.allclose(phi.project(new), torch.nn.functional.normalize(new, dim=-1), atol=1e-4)
        ```
    """
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(new_texts), generator=generator)[:FITTED_ROWS].to(new_texts.device)
    skip = STARTS[start](unit(new_texts[rows]), unit(old_texts[rows]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Projection(skip, hidden)
