"""Batches of R trainings side by side, each in its own order; cached features are gathered for all at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from trainers.config.training import ViewConfig
from trainers.feeding.batches import FeatureBatches
from trainers.feeding.views import batch_bounds, epoch_order

JOINED_BYTES = 2**26  # of different tables; smaller ones are joined for a pass, so that a step looks up once


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
            yield from _gathered(feeds, tables)
            return
        for step in zip(*self.parts, strict=True):
            sizes = sorted({tuple(batch[0].shape) for batch in step})
            if len(sizes) > 1:
                raise ValueError(f"batches of the shapes {sizes} cannot go side by side; train them one by one")
            yield torch.stack([batch[0] for batch in step]), torch.stack([batch[1] for batch in step])


def _gathered(feeds: Sequence[FeatureBatches], tables: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """One pass over R feeds with their features (N, V, ...): a lookup per step, or one for each different table."""
    first, count, n_views = feeds[0], *tables[0].shape[:2]
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
    at, truth = torch.stack(places).to(tables[0].device), torch.stack(labels)  # (R, N) each
    rows_of: dict[int, list[int]] = {}
    for row, table in enumerate(tables):
        rows_of.setdefault(id(table), []).append(row)
    groups = [(tables[rows[0]].flatten(0, 1), rows) for rows in rows_of.values()]  # (N * V, ...) each
    if len(groups) > 1 and sum(table.nbytes for table, _ in groups) <= JOINED_BYTES:
        for number, (_, rows) in enumerate(groups):
            at[rows] += number * count * n_views
        groups = [(torch.cat([table for table, _ in groups]), list(range(len(feeds))))]
    for start, end in batch_bounds(count, first.batch_size, first.drop_last):
        found = [(table.index_select(0, at[rows, start:end].flatten()), rows) for table, rows in groups]
        shape = end - start, *tables[0].shape[2:]
        if len(found) == 1:
            yield found[0][0].view(len(feeds), *shape), truth[:, start:end]
            continue
        x = tables[0].new_empty(len(feeds), *shape)
        for part, rows in found:
            x[rows] = part.view(len(rows), *shape)
        yield x, truth[:, start:end]
