"""Which images are nearest to which, by cosine, without the N x N table of all cosines.

Zanella et al., "Boosting Vision-Language Models with Transduction", arXiv:2406.01837: row i of the affinity W has the
cosines of the three nearest images, and zeros elsewhere; it is not made symmetric. Rows are the images that are
classified, and in the few-shot form the shots as well; columns are the images that are classified, always.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

CHUNK_BYTES = 2**28  # of cosines that are held at a time


@dataclass(frozen=True)
class Affinity:
    """R rows of W: the columns of their K entries, index (R, K) int64, and the entries, weight (R, K)."""

    index: Tensor
    weight: Tensor
    n_columns: int

    def __getitem__(self, rows: slice) -> "Affinity":
        return Affinity(self.index[rows], self.weight[rows], self.n_columns)

    def sparse(self) -> Tensor:
        """W (R, N) as a sparse tensor."""
        rows = torch.arange(len(self.index), device=self.index.device)[:, None].expand_as(self.index)
        places = torch.stack([rows.flatten(), self.index.flatten()])
        shape = (len(self.index), self.n_columns)
        return torch.sparse_coo_tensor(places, self.weight.flatten(), shape, check_invariants=False).coalesce()

    def both_ways(self) -> Tensor:
        """W + W^T (N, N) as a sparse tensor, of N rows of W."""
        ahead = self.sparse()
        return (ahead + ahead.T).coalesce()


def nearest(
    rows: Tensor, queries: Tensor, count: int = 3, *, of_queries: bool, chunk_bytes: int = CHUNK_BYTES
) -> Affinity:
    """The nearest queries to each row, by cosine, the nearest first.

    Of a row that is a query itself, the query is left out by its place, so that a second image equal to it is its
    neighbour. Of any other row, the nearest query of all is left out, as in the released code.

    Args:
        rows: unit features (R, D).
        queries: unit features (N, D); where `of_queries`, these are the rows in their order.
        count: neighbours of a row, K; N - 1 where there are fewer.
        chunk_bytes: of cosines at a time, in rows of N; at least one row.

    Example:
        ```python
        from adaptkit.test_time.transclip import nearest

        features = torch.nn.functional.normalize(torch.randn(50, 8), dim=-1)
        assert nearest(features, features, of_queries=True).index.shape == (50, 3)
        ```
    """
    n_queries, kept = len(queries), min(count, max(len(queries) - 1, 0))
    chunk = max(1, chunk_bytes // (queries.element_size() * max(n_queries, 1)))
    indices, weights = [rows.new_zeros(0, kept, dtype=torch.int64)], [rows.new_zeros(0, kept)]
    for start in range(0, len(rows), chunk):
        cosines = rows[start : start + chunk] @ queries.T  # (chunk, N)
        if of_queries:
            own = torch.arange(len(cosines), device=cosines.device)
            cosines[own, own + start] = -torch.inf
            weight, index = cosines.topk(kept, dim=1)
        else:
            weight, index = (found[:, 1:] for found in cosines.topk(min(kept + 1, n_queries), dim=1))
        indices.append(index)
        weights.append(weight)
    return Affinity(torch.cat(indices), torch.cat(weights), n_queries)


def nearest_of_all(rows: Tensor, queries: Tensor, chunk_bytes: int = CHUNK_BYTES) -> Tensor:
    """Index (R,) of the query (N, D) nearest to each row (R, D), by cosine."""
    chunk = max(1, chunk_bytes // (queries.element_size() * max(len(queries), 1)))
    return torch.cat([(part @ queries.T).argmax(dim=1) for part in rows.split(chunk)])
