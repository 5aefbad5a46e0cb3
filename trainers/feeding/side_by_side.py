"""Batches of R trainings side by side, each in its own order; cached features are gathered for all at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.config.training import ViewConfig
from trainers.feeding.batches import FeatureBatches
from trainers.feeding.views import batch_bounds, epoch_order

JOINED_BYTES = 2**26  # of different tables; smaller ones are joined for a pass, so that a step looks up once
Part = FeatureBatches | Sequence[tuple[Tensor, ...]]


@dataclass
class SideBySide:
    """Batches (x (R, B, ...), labels (R, B)) of R trainings; each pass is one epoch of all.

    Args:
        parts: R batches as `train` takes them.

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
        tables = [part for part in self.parts if isinstance(part, FeatureBatches) and isinstance(part.features, Tensor)]
        if len(tables) == len(self.parts) and len({_shape(table) for table in tables}) == 1:
            yield from _gathered(tables)
            return
        for step in zip(*self.parts, strict=True):
            shapes = sorted({tuple(batch[0].shape) for batch in step})
            if len(shapes) > 1:
                raise ValueError(f"batches of the shapes {shapes} cannot go side by side; train them one by one")
            yield torch.stack([batch[0] for batch in step]), torch.stack([batch[1] for batch in step])


def _shape(table: FeatureBatches) -> tuple[object, ...]:
    return table.batch_size, table.drop_last, table.skip, tuple(table.features.shape)


def _gathered(tables: Sequence[FeatureBatches]) -> Iterator[tuple[Tensor, Tensor]]:
    """One pass over tables of features (N, V, ...), a lookup per different table and step."""
    known: dict[tuple[ViewConfig, int, int], tuple[Tensor, Tensor]] = {}
    orders, views = [], []
    for table in tables:
        key = table.views, table.seed, table.epoch
        if key not in known:
            known[key] = epoch_order(len(table.labels), *key)
        orders.append(known[key][0])
        views.append(known[key][1])
    first, device = tables[0], tables[0].features.device
    order, view = torch.stack(orders).to(device), torch.stack(views).to(device)  # (R, N)
    rows_of: dict[int, list[int]] = {}
    for row, table in enumerate(tables):
        rows_of.setdefault(id(table.features), []).append(row)
    labels = torch.stack([table.labels[own.to(table.labels.device)] for table, own in zip(tables, orders, strict=True)])
    bounds = batch_bounds(len(first.labels), first.batch_size, first.drop_last)[first.skip :]
    for table in tables:
        table.skip, table.epoch = 0, table.epoch + 1
    places = order * first.features.shape[1] + view  # (R, N), rows of one table
    tables_of = [tables[rows[0]].features.flatten(0, 1) for rows in rows_of.values()]  # (N * V, ...) each
    if len(tables_of) > 1 and sum(table.nbytes for table in tables_of) <= JOINED_BYTES:
        for number, rows in enumerate(rows_of.values()):
            places[rows] += number * len(tables_of[0])
        tables_of, rows_of = [torch.cat(tables_of)], {0: list(range(len(tables)))}
    for start, end in bounds:
        part = slice(start, end)
        shape = len(tables), end - start, *first.features.shape[2:]
        if len(tables_of) == 1:
            yield tables_of[0].index_select(0, places[:, part].flatten()).view(shape), labels[:, part]
            continue
        x = first.features.new_empty(shape)
        for table, rows in zip(tables_of, rows_of.values(), strict=True):
            x[rows] = table.index_select(0, places[rows, part].flatten()).view(len(rows), *shape[1:])
        yield x, labels[:, part]
