"""A pool of images that are encoded together, so that trainings on parts of them encode nothing again."""

from collections.abc import Sequence

import torch
from torch import Tensor

from datasets_fewshot import FewShotDataset, Item
from trainers.config.training import ViewConfig
from trainers.feeding.encoder import ImageEncoder
from trainers.feeding.token_table import TokenTable


class PoolEncoder(ImageEncoder):
    """An encoder that takes whatever is asked of images in the pool from what is stored of the whole pool.

    The view of an image depends on the seed, its number and the image's path alone, so nothing else changes. What is
    stored of images as they are stays in memory: every training on a part asks for it.
    """

    def __init__(self, encoder: ImageEncoder, pool: Sequence[Item]):
        super().__init__(encoder.backbone, encoder.store, encoder.precision, encoder.workers, encoder.kept)
        self.pool = tuple({item.path: item for item in pool}.values())
        self._places = {item.path: place for place, item in enumerate(self.pool)}
        self._known: dict[str, Tensor] = {}  # by data set
        self._tables: dict[tuple[str, bool], TokenTable | None] = {}  # by data set and rows that are kept

    def plain_features(self, dataset: FewShotDataset, items: Sequence[Item]) -> Tensor:
        places = self._places_of(items)
        if places is None:
            return super().plain_features(dataset, items)
        if dataset.name not in self._known:
            self._known[dataset.name] = super().plain_features(dataset, self.pool)
        return self._known[dataset.name][places]

    def view_features(
        self, dataset: FewShotDataset, items: Sequence[Item], views: ViewConfig, seed: int, epochs: int
    ) -> Tensor:
        places = self._places_of(items)
        if places is None or views.augment == "none":
            return super().view_features(dataset, items, views, seed, epochs)
        return super().view_features(dataset, self.pool, views, seed, epochs)[places]

    def view_tokens(
        self,
        dataset: FewShotDataset,
        items: Sequence[Item],
        views: ViewConfig,
        seed: int,
        epochs: int,
        *,
        first_only: bool = False,
    ) -> TokenTable | None:
        places = self._places_of(items)
        if places is None:
            return super().view_tokens(dataset, items, views, seed, epochs, first_only=first_only)
        key = dataset.name, first_only
        table = self._tables.get(key) if views.augment == "none" else None
        if table is None:
            table = super().view_tokens(dataset, self.pool, views, seed, epochs, first_only=first_only)
        if views.augment == "none":
            self._tables[key] = table
        return None if table is None else TokenTable(table.packed[places], table.width)

    def _places_of(self, items: Sequence[Item]) -> Tensor | None:
        """Places of the items in the pool; None where one is not in it."""
        places = [self._places.get(item.path) for item in items]
        return None if None in places else torch.tensor(places, dtype=torch.int64)
