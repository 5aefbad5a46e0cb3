"""Unit rows in half precision, in memory or memory-mapped, searched by inner product."""

import mmap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

ROWS_AT_ONCE = 2**11  # that are scored together; few enough to stay in a processor's cache in single precision
Half = np.ndarray  # (n, D) float16


@dataclass(frozen=True)
class Found:
    """The nearest rows of some queries, the nearest first; ones as near as each other in their order."""

    scores: Tensor  # (B, K)
    places: Tensor  # (B, K) int64


class UnitRows:
    """Rows of length 1 and width D, in parts.

    Args:
        shards: parts (n, D), float16, in memory or memory-mapped.
    """

    def __init__(self, shards: Sequence[Half]):
        self.shards = shards
        self.starts = np.cumsum([0, *(len(shard) for shard in shards)])
        # Half precision moves lengths off 1; each is computed by the first search, and 0 until then. Kept in one piece:
        # small tensors between the blocks of a search would keep the memory of these from being used again.
        self._lengths = torch.zeros(int(self.starts[-1]))

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def dim(self) -> int:
        """Width D."""
        return int(self.shards[0].shape[1])

    def rows(self, places: Sequence[int]) -> Tensor:
        """Unit rows (K, D) float32 at some places."""
        shards = np.searchsorted(self.starts, places, side="right") - 1
        picked = [self.shards[shard][place - self.starts[shard]] for shard, place in zip(shards, places, strict=True)]
        return unit(np.stack(picked))

    def search(self, queries: Tensor, count: int) -> Found:
        """The rows with the largest inner products with queries (B, D) of length 1; all where there are fewer.

        Every row is compared, `ROWS_AT_ONCE` at a time; no more than these are in this process's memory.

        Raises:
            ValueError: if the queries have another width, or hold numbers that are not finite.
        """
        queries = F.normalize(queries.detach().float(), dim=-1)
        if queries.shape[1:] != (self.dim,):
            raise ValueError(
                f"the queries have shape {tuple(queries.shape)}; expected (B, {self.dim}), as wide as the rows"
            )
        if not queries.isfinite().all():
            raise ValueError("the queries hold numbers that are not finite; check the model that encoded them")
        count = min(count, len(self))
        best = Found(
            queries.new_full((len(queries), count), -torch.inf),
            torch.zeros(len(queries), count, dtype=torch.int64),
        )
        for start, shard in zip(self.starts.tolist(), self.shards, strict=False):
            for first in range(0, len(shard), ROWS_AT_ONCE):
                block = torch.from_numpy(np.array(shard[first : first + ROWS_AT_ONCE])).to(queries.device).float()
                _let_go(shard)
                scores = queries @ block.T / self._lengths_of(start + first, block)
                _take_over(best, scores, start + first)
        return best

    def _lengths_of(self, first: int, block: Tensor) -> Tensor:
        lengths = self._lengths[first : first + len(block)]
        if (lengths == 0).any():
            lengths.copy_(block.norm(dim=1).clamp(min=torch.finfo(torch.float32).tiny))
        return lengths.to(block.device)


def _let_go(shard: Half) -> None:
    """Take the pages of a memory-mapped part out of this process's memory; the system may keep them at hand."""
    if isinstance(shard.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        shard.base.madvise(mmap.MADV_DONTNEED)


def _take_over(best: Found, scores: Tensor, first: int) -> None:
    """Put those of scores (B, n) of the rows from `first` on that are nearer into the best (B, K) so far."""
    count = best.scores.shape[1]
    farthest = best.scores[:, -1]  # a later row has to be nearer than this, as ones that are as near stay behind
    for row in (scores.amax(dim=1) > farthest).nonzero()[:, 0].tolist():
        least = scores[row].topk(min(count, scores.shape[1])).values[-1]
        own = ((scores[row] >= least) & (scores[row] > farthest[row])).nonzero()[:, 0]  # in their order
        ranked = torch.cat([best.scores[row], scores[row, own]]).sort(descending=True, stable=True)
        places = torch.cat([best.places[row], first + own.cpu()])
        best.scores[row] = ranked.values[:count]
        best.places[row] = places[ranked.indices[:count].cpu()]


def unit(rows: np.ndarray) -> Tensor:
    """Rows of any float type -> float32 of length 1; half precision keeps lengths to three digits alone."""
    return F.normalize(torch.from_numpy(np.array(rows, dtype=np.float32)), dim=-1)
