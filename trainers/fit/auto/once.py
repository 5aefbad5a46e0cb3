"""An encoder of images that encodes a list of them once, and gives the rows of every part of it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from datasets_fewshot import FewShotDataset, Item
from trainers.config.training import ViewConfig
from trainers.feeding.encoder import ImageEncoder
from trainers.feeding.token_table import TokenTable


class OnceEncoder(ImageEncoder):
    """Encodes training images all together, so that folds of them share what is stored.

    Args:
        encoder: whose tower, store and precision are used.
        every: the images whose parts will be asked for.
    """

    def __init__(self, encoder: ImageEncoder, every: Sequence[Item]):
        super().__init__(encoder.backbone, encoder.store, encoder.precision, encoder.workers, encoder.kept)
        self.every = tuple(every)
        self.rows = {item.path: row for row, item in enumerate(self.every)}
        self._known: dict[str, Tensor] = {}
        self._tables: dict[tuple[str, bool], TokenTable | None] = {}

    def plain_features(self, dataset: FewShotDataset, items: Sequence[Item]) -> Tensor:
        """Features of images of the list: (n, D) fp32 on the CPU, not normalised."""
        if dataset.name not in self._known:
            self._known[dataset.name] = super().plain_features(dataset, self.every)
        return self._known[dataset.name][[self.rows[item.path] for item in items]]

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
        """Output rows of images of the list, as `ImageEncoder.view_tokens` has them."""
        if views.augment != "none":
            return super().view_tokens(dataset, items, views, seed, epochs, first_only=first_only)
        key = dataset.name, first_only
        if key not in self._tables:
            self._tables[key] = super().view_tokens(dataset, self.every, views, 0, 0, first_only=first_only)
        table = self._tables[key]
        index = torch.tensor([self.rows[item.path] for item in items], dtype=torch.int64)
        return None if table is None else TokenTable(table.packed[index], table.width)
