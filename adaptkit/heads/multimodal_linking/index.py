"""Records in one space: each is looked up by its image, its text or both, and all can be clustered."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from adaptkit.heads.multimodal_linking.clusters import ROUNDING, single_linkage
from adaptkit.heads.multimodal_linking.records import RecordFeatures
from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.vectors.rows import UnitRows


@dataclass(frozen=True)
class Link:
    """A record of the index that a query is linked to."""

    place: int  # in the index, counted from 0
    name: str
    distance: float  # 1 - cosine, from 0 to 2


class PooledIndex:
    """Unit vectors of records, by place and by name, in memory.

    Args:
        vectors_of: records -> vectors (N, D), such as `MultimodalLinking.vectors`, or `pooled` without any training.

    Example:
        ```python
        import torch

        from adaptkit.heads.multimodal_linking import PooledIndex, pooled, records_of

        index = PooledIndex(pooled)
        index.add(records_of(torch.eye(3), torch.eye(3)), ["a", "b", "c"])
        assert index.link(records_of(torch.eye(3)[:1], None), k=1)[0][0].name == "a"
        assert index.cluster(threshold=0.5).tolist() == [0, 1, 2]
        ```
    """

    def __init__(self, vectors_of: Callable[[RecordFeatures], Tensor]):
        self.vectors_of = vectors_of
        self.names: list[str] = []
        self._parts: list[Tensor] = []
        self._rows: UnitRows | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def vectors(self) -> Tensor:
        """All vectors (N, D) in their order.

        Raises:
            ValueError: if nothing was added.
        """
        if not self._parts:
            raise ValueError("the index is empty; add records first")
        return torch.cat(self._parts)

    @torch.no_grad()
    def add(self, records: RecordFeatures, names: Sequence[str] | None = None) -> None:
        """Put records behind those that are there.

        Args:
            names: one for each; None for their places as words.

        Raises:
            ValueError: if there are not as many names, or vectors have another width or numbers that are not finite.
        """
        names = [str(len(self) + place) for place in range(len(records))] if names is None else list(names)
        if len(names) != len(records):
            raise ValueError(f"{len(names)} names for {len(records)} records; give one for each")
        vectors = at_least_fp32(self.vectors_of(records)).cpu()
        if not vectors.isfinite().all():
            raise ValueError("the vectors of records hold numbers that are not finite; check what encoded them")
        if self._parts and vectors.shape[1:] != self._parts[0].shape[1:]:
            raise ValueError(
                f"vectors are {tuple(vectors.shape[1:])} wide and the index {tuple(self._parts[0].shape[1:])}; give "
                "records of one backbone"
            )
        self._parts.append(vectors)
        self.names += names
        self._rows = None

    @torch.no_grad()
    def link(self, queries: RecordFeatures, k: int = 1, threshold: float | None = None) -> list[list[Link]]:
        """For each query up to k records, the nearest first; with a threshold, only those at that distance or nearer.

        Raises:
            ValueError: if the index is empty, k is less than 1, or queries have another width.
        """
        if k < 1:
            raise ValueError(f"k={k}; expected 1 or more")
        if self._rows is None:
            self._rows = UnitRows([self.vectors.float().numpy()])
        found = self._rows.search(self.vectors_of(queries).cpu(), k)
        most = float("inf") if threshold is None else threshold + ROUNDING
        return [
            [
                Link(place, self.names[place], max(0.0, 1 - score))
                for place, score in zip(places, scores, strict=True)
                if 1 - score <= most
            ]
            for places, scores in zip(found.places.tolist(), found.scores.tolist(), strict=True)
        ]

    def cluster(self, threshold: float) -> Tensor:
        """Clusters (N,) int64 by single linkage: a chain of pairs at this distance or nearer joins records.

        Raises:
            ValueError: if the index is empty.
        """
        return single_linkage(self.vectors, threshold)
