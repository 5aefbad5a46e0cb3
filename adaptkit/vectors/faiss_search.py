"""Approximate search of many rows with faiss, if it is installed: an inverted file over rows in half precision."""

import math
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.vectors.rows import ROWS_AT_ONCE, Found, UnitRows, unit

ROWS_PER_LIST = 64  # that the lists are trained on, at least 39 as faiss asks for


class Inverted(Protocol):
    """The part of a faiss index that is used here."""

    nprobe: int

    def train(self, rows: np.ndarray) -> None: ...

    def add(self, rows: np.ndarray) -> None: ...

    def search(self, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]: ...


class FaissSearch:
    """Rows in lists of neighbours, of which a search looks at the nearest.

    The lists are built in memory, two bytes a number.

    Args:
        probes: lists that a search looks at, of about the root of the number of rows.

    Raises:
        ImportError: if faiss is not installed.
    """

    def __init__(self, rows: UnitRows, probes: int):
        try:
            import faiss
        except ImportError:
            raise ImportError(
                "searching with faiss needs it: pip install faiss-cpu; or take the exact search"
            ) from None
        lists = max(1, min(int(math.sqrt(len(rows))), len(rows) // ROWS_PER_LIST))
        coarse = faiss.IndexFlatIP(rows.dim)
        half = faiss.ScalarQuantizer.QT_fp16
        self.inverted: Inverted = faiss.IndexIVFScalarQuantizer(
            coarse, rows.dim, lists, half, faiss.METRIC_INNER_PRODUCT, False
        )
        self.rows = rows
        sample = np.linspace(0, len(rows) - 1, min(len(rows), lists * ROWS_PER_LIST)).astype(np.int64)
        self.inverted.train(rows.rows(sample.tolist()).numpy())
        for shard in rows.shards:
            for start in range(0, len(shard), ROWS_AT_ONCE):
                self.inverted.add(unit(shard[start : start + ROWS_AT_ONCE]).numpy())
        self.inverted.nprobe = min(probes, lists)

    def search(self, queries: Tensor, count: int) -> Found:
        """The nearest rows that the looked-at lists hold; where these are fewer, the exact search answers."""
        queries = F.normalize(queries.detach().float(), dim=-1)
        scores, places = self.inverted.search(queries.cpu().numpy(), min(count, len(self.rows)))
        if (places < 0).any():
            return self.rows.search(queries, count)
        return Found(torch.from_numpy(scores).to(queries.device), torch.from_numpy(places))
