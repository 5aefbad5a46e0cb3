"""Max-margin ranking losses: what belongs to a query is to be nearer than what does not, by a margin.

For the similarity S_q of a query to its own partner, S_qj to others, and a margin m:
    sum         h_q = sum_j [m + S_qj - S_q]_+
    max         h_q = max_j [m + S_qj - S_q]_+
    semi_hard   the sum over those j alone whose S_qj < S_q
Faghri et al., "VSE++: Improving Visual-Semantic Embeddings with Hard Negatives", arXiv:1707.05612, equations 3 and 5,
have the first two; Schroff et al., arXiv:1503.03832, section 3.2, the third.
"""

from typing import Literal

import torch
from torch import Tensor

Mining = Literal["sum", "max", "semi_hard"]
Reduction = Literal["mean", "sum"]


def hinge(
    similarity: Tensor,
    own: Tensor,
    negatives: Tensor,
    margin: float,
    mining: Mining = "sum",
    reduction: Reduction = "mean",
) -> Tensor:
    """The ranking loss of queries: a scalar, zero where all margins hold.

    Args:
        similarity: (Q, N) of each query to the candidates.
        own: (Q,) of each query to what belongs to it.
        negatives: (Q, N) bool, which candidates do not belong to a query.
        reduction: "mean" over the negatives that break the margin, which is of one size in batches of any size; "sum"
            over them, divided by Q.

    Example:
        ```python
        import torch
        from adaptkit.layers.ranking import hinge

        similarity = torch.tensor([[0.9, 0.8], [0.1, 0.9]])
        print(hinge(similarity, similarity.diag(), ~torch.eye(2, dtype=torch.bool), margin=0.2))  # 0.1
        ```
    """
    broken = (margin + similarity - own[:, None]).clamp(min=0)  # (Q, N)
    counted = negatives if mining != "semi_hard" else negatives & (similarity < own[:, None])
    broken = torch.where(counted, broken, torch.zeros_like(broken))
    if mining == "max":
        broken = broken.amax(dim=1)
    if reduction == "sum":
        return broken.sum() / len(own)
    return broken.sum() / (broken > 0).sum().clamp(min=1)
