"""Features of records with several texts, and the soft tokens through which the paper's language model reads a vector.

Gu et al., arXiv:2211.09778, and allenai/close 80f8db0: the captions of one record count as the mean of their features
before these are normalised, and a language model reads n(feature) as
    [c_1 .. c_m, W n(feature) + b cut into k tokens]      c: learnt tokens that do not depend on the feature
The language model is not here: any that takes embeddings can stand behind `SoftTokens`.
"""

import torch
from torch import Tensor, nn

from adaptkit.heads.close.adapters import unit


def record_features(features: Tensor, records: Tensor) -> Tensor:
    """Text features (N, D), not normalised, of records numbered by `records` (N,) -> unit features (R, D).

    Raises:
        ValueError: if a text has no record, or a record from 0 to the largest has no text.
    """
    if records.shape != features.shape[:1] or not len(records):
        raise ValueError(f"{len(features)} texts have records of shape {tuple(records.shape)}; give one for each text")
    counts = torch.bincount(records)
    if not bool(counts.all()):
        raise ValueError(f"record {int(counts.argmin())} has no text; number records from 0 without a gap")
    sums = features.new_zeros(len(counts), features.shape[1]).index_add(0, records, features)
    return unit(sums / counts[:, None].to(sums))


class SoftTokens(nn.Module):
    """Vectors (N, D) -> embeddings (N, m + k, E) for a language model: m constant tokens, then k of the vector.

    Args:
        width: D.
        embedding: E, the width of the language model.
        count: k, 4 in the paper.
        constant: m, 0 in the paper.
    """

    def __init__(self, width: int, embedding: int, count: int = 4, constant: int = 0):
        super().__init__()
        self.count = count
        self.linear = nn.Linear(width, count * embedding)
        self.constant = nn.Parameter(torch.randn(constant, embedding) * embedding**-0.5) if constant else None

    def forward(self, u: Tensor) -> Tensor:
        tokens = self.linear(u).unflatten(-1, (self.count, -1))  # (N, k, E)
        if self.constant is None:
            return tokens
        return torch.cat([self.constant.to(tokens).expand(len(u), -1, -1), tokens], dim=1)
