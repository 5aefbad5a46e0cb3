"""Unit rows in half precision, in memory or memory-mapped, searched by inner product."""

import mmap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

ROWS_AT_ONCE = 2**16  # that are scored together; in single precision, 128 MiB of rows of width 512
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
        self._lengths: dict[tuple[int, int], Tensor] = {}  # of the rows of each block: half precision moves them off 1

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
            ValueError: if the queries have another width.
        """
        queries = F.normalize(queries.detach().float(), dim=-1)
        if queries.shape[1:] != (self.dim,):
            raise ValueError(
                f"the queries have shape {tuple(queries.shape)}; expected (B, {self.dim}), as wide as the rows"
            )
        count = min(count, len(self))
        best = Found(queries.new_zeros(len(queries), 0), torch.zeros(len(queries), 0, dtype=torch.int64))
        for start, shard in zip(self.starts.tolist(), self.shards, strict=False):
            for first in range(0, len(shard), ROWS_AT_ONCE):
                block = torch.from_numpy(np.array(shard[first : first + ROWS_AT_ONCE])).to(queries.device).float()
                _let_go(shard)
                scores = queries @ block.T / self._lengths_of(start + first, block)
                best = _nearest(best, scores, start + first, count)
        return best

    def _lengths_of(self, first: int, block: Tensor) -> Tensor:
        key = (first, len(block))
        if key not in self._lengths:
            self._lengths[key] = block.norm(dim=1).clamp(min=torch.finfo(torch.float32).tiny)
        return self._lengths[key].to(block.device)


def _let_go(shard: Half) -> None:
    """Take the pages of a memory-mapped part out of this process's memory; the system may keep them at hand."""
    if isinstance(shard.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        shard.base.madvise(mmap.MADV_DONTNEED)


def _nearest(best: Found, scores: Tensor, first: int, count: int) -> Found:
    """The best of what was found before and of scores (B, n) of the rows from `first` on."""
    least = scores.topk(min(count, scores.shape[1])).values[:, -1:]
    merged_scores, merged_places = [], []
    for row in range(len(scores)):
        own = (scores[row] >= least[row]).nonzero()[:, 0]  # in order, so that a stable sort keeps it among equals
        all_scores = torch.cat([best.scores[row], scores[row, own]])
        all_places = torch.cat([best.places[row], first + own.cpu()])
        ranked = all_scores.sort(descending=True, stable=True)
        merged_scores.append(ranked.values[:count])
        merged_places.append(all_places[ranked.indices[:count].cpu()])
    return Found(torch.stack(merged_scores), torch.stack(merged_places))


def unit(rows: np.ndarray) -> Tensor:
    """Rows of any float type -> float32 of length 1; half precision keeps lengths to three digits alone."""
    return F.normalize(torch.from_numpy(np.array(rows, dtype=np.float32)), dim=-1)
