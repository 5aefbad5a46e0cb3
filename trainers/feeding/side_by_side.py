"""Batches of R trainings side by side, each in its own order; cached features are gathered for all at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from trainers.config.training import ViewConfig
from trainers.feeding.batches import FeatureBatches
from trainers.feeding.views import batch_bounds, epoch_order

JOINED_BYTES = 2**26  # of different tables; smaller ones are joined, so that a step looks up once
Tables = list[tuple[Tensor, list[int]]]  # features (N * V, ...), and which of the trainings read them


class Part(Protocol):
    """Batches (x, labels) of one training; every pass over them is one epoch."""

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]: ...

    def __len__(self) -> int: ...


@dataclass
class SideBySide:
    """Batches (x (R, B, ...), labels (R, B)) of R trainings; each pass is one epoch of all.

    Raises:
        ValueError: if they have not as many batches each, or a step's batches not one shape.
    """

    parts: Sequence[Part]
    _tables: "tuple[Tables, Tensor] | None" = field(default=None, init=False, repr=False)  # of cached features

    def __post_init__(self) -> None:
        counts = sorted({len(part) for part in self.parts})
        if len(counts) > 1:
            raise ValueError(
                f"trainings of {counts} batches an epoch cannot go side by side; take draws with as many images each "
                "and one OPTIM.BATCH_SIZE, or train them one by one"
            )

    def __len__(self) -> int:
        return len(self.parts[0])

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        feeds = [part for part in self.parts if isinstance(part, FeatureBatches) and not part.skip]
        tables = [feed.features for feed in feeds if isinstance(feed.features, Tensor)]
        shapes = {(*table.shape, feed.batch_size, feed.drop_last) for feed, table in zip(feeds, tables, strict=False)}
        if len(tables) == len(self.parts) and len(shapes) == 1:
            if self._tables is None:
                self._tables = _joined(tables)
            yield from _gathered(feeds, tables[0].shape, *self._tables)
            return
        for step in zip(*self.parts, strict=True):
            sizes = sorted({tuple(batch[0].shape) for batch in step})
            if len(sizes) > 1:
                raise ValueError(f"batches of the shapes {sizes} cannot go side by side; train them one by one")
            yield torch.stack([batch[0] for batch in step]), torch.stack([batch[1] for batch in step])


def _joined(tables: Sequence[Tensor]) -> tuple[Tables, Tensor]:
    """The different ones of R tables (N, V, ...), in one where they are small, and where in it each begins: (R, 1)."""
    readers: dict[int, list[int]] = {}
    for row, table in enumerate(tables):
        readers.setdefault(id(table), []).append(row)
    groups = [(tables[rows[0]].flatten(0, 1), rows) for rows in readers.values()]
    starts = torch.zeros(len(tables), 1, dtype=torch.int64)
    if len(groups) > 1 and sum(table.nbytes for table, _ in groups) <= JOINED_BYTES:
        for number, (table, rows) in enumerate(groups):
            starts[rows] = number * len(table)
        groups = [(torch.cat([table for table, _ in groups]), list(range(len(tables))))]
    return groups, starts.to(tables[0].device)


def _gathered(
    feeds: Sequence[FeatureBatches], shape: Sequence[int], groups: Tables, starts: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """One pass over R feeds with features of one shape (N, V, ...): a lookup per step, or one for each group."""
    first, (count, n_views, *rest) = feeds[0], shape
    known: dict[tuple[ViewConfig, int, int], tuple[Tensor, Tensor]] = {}
    places, labels = [], []
    for feed in feeds:
        key = feed.views, feed.seed, feed.epoch
        if key not in known:
            known[key] = epoch_order(count, *key)
        order, view = known[key]
        places.append(order * n_views + view)
        labels.append(feed.labels[order.to(feed.labels.device)])
        feed.epoch += 1
    at, truth = torch.stack(places).to(starts.device) + starts, torch.stack(labels)  # (R, N) each
    if len(known) == 1 and len({id(feed.features) for feed in feeds}) == 1:
        at = at[:1]  # All read the same rows.
    for start, end in batch_bounds(count, first.batch_size, first.drop_last):
        if len(groups) == 1:
            found = groups[0][0].index_select(0, at[:, start:end].flatten()).view(len(at), end - start, *rest)
            yield found.expand(len(feeds), *found.shape[1:]), truth[:, start:end]
            continue
        x = groups[0][0].new_empty(len(feeds), end - start, *rest)
        for table, rows in groups:
            x[rows] = table.index_select(0, at[rows, start:end].flatten()).view(len(rows), end - start, *rest)
        yield x, truth[:, start:end]
