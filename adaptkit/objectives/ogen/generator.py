"""The class-conditional feature generator of OGEN: image features of a class from its text and from other classes.

    g(Q, K, V) = n(MHA(Q, K, V) + FFN(Q))
Q is the text feature of the wanted class, K those of other classes and V their image features; FFN is
Linear - ReLU - Linear. There is no layer norm and no residual of Q.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class Generator(nn.Module):
    """The generator g over features of width D.

    Args:
        dim: D.
        heads: of the attention; they divide D.
        dropout: of the attention weights, while it is trained.

    Raises:
        ValueError: if the heads do not divide D.
    """

    def __init__(self, dim: int, heads: int = 4, dropout: float = 0.1):
        super().__init__()
        if dim % heads:
            fits = max(count for count in range(1, heads) if dim % count == 0)
            raise ValueError(f"heads={heads} does not divide the joint width {dim}; take {fits} or another divisor")
        self.multihead_attn = nn.MultiheadAttention(dim, heads, dropout, batch_first=True)
        self.ffn = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim))

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Text features (B, q, D) of wanted classes, text and image features (B, m, D) of others -> (B, q, D), unit."""
        attended, _ = self.multihead_attn(queries, keys, values, need_weights=False)
        return F.normalize(attended + self.ffn(queries), dim=-1)
