"""Which patches are kept by their attention (Endo et al., "Feather the Throttle", arXiv:2412.13180, in a CLIP tower).

With the queries q of one or several tokens and the keys k_p of the patches, in d numbers a head,
    c_p = mean over heads and queries of softmax_p(q . k_p / sqrt(d)),
a stage keeps the patches with the largest c_p, the first stage also those of a grid: every 3rd row and column. Kept
patches stay in their order. FEATHER asks the last text token of a language model; in a CLIP tower the class token asks,
or all patches where there is none.

Departure: the paper unites the best patches with the grid, which gives every image another number of them; in a batch
    (`keep_beside`) the best of those outside of the grid are kept, which are all of the united ones and some more.
"""

import torch
from torch import Tensor


def attention_criterion(q: Tensor, k: Tensor) -> Tensor:
    """Queries (B, H, l, d) and keys of the patches (B, H, P, d) -> the criterion c (B, P)."""
    scores = q @ k.mT / q.shape[-1] ** 0.5  # (B, H, l, P)
    return scores.softmax(dim=-1).mean(dim=(1, 2))


def grid_positions(rows: int, columns: int, stride: int) -> Tensor:
    """Positions, row by row, of the patches in every `stride`-th row and column at once: (G,) int64."""
    down, across = torch.arange(0, rows, stride), torch.arange(0, columns, stride)
    return (down[:, None] * columns + across).flatten()


def count_after_pruning(n: int, ratio: float, stage: int = 1) -> int:
    """Patches that a stage keeps of n: int(n (1 - ratio)^stage), as FEATHER's released code counts."""
    return int(n * (1 - ratio) ** stage)


def keep_best(criterion: Tensor, count: int) -> Tensor:
    """Positions of the `count` largest of c (..., P), in ascending order: (..., count) int64."""
    return criterion.argsort(dim=-1, descending=True, stable=True)[..., :count].sort(dim=-1).values


def keep_united(criterion: Tensor, count: int, always: Tensor) -> Tensor:
    """The `count` best of one image's c (P,), united with the positions `always`, as FEATHER does: ascending."""
    return torch.cat([keep_best(criterion, count), always.to(criterion.device)]).unique()


def keep_beside(criterion: Tensor, count: int, always: Tensor) -> Tensor:
    """The positions `always` (G,) and the `count` best of the others of c (B, P), ascending: (B, count + G) int64."""
    return keep_best(criterion.index_fill(-1, always, torch.inf), min(count + len(always), criterion.shape[-1]))
