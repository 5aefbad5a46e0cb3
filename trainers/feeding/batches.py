"""Seeded training batches, one permutation per epoch; features and images are fed as the same items and views."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from adaptkit.backbone.preprocess import PreprocessConfig
from adaptkit.backbone.test_views import Preparing, TestViews
from datasets_fewshot import FewShotDataset, Item
from trainers.compute.team import ALONE, Team
from trainers.config.training import ViewConfig
from trainers.feeding.encoder import ViewImages
from trainers.feeding.kept_pixels import KeptPixels
from trainers.feeding.test_views import Prepares, TestViewImages
from trainers.feeding.token_table import TokenTable
from trainers.feeding.views import batch_bounds, epoch_order

Batch = tuple[Tensor, Tensor]  # (x, labels): x is the method's input of B rows, labels is (B,) int64
PlacedBatch = tuple[Tensor, ...]  # the same, or with a third tensor: the places of the rows among the items, (B,)


@dataclass
class FeatureBatches:
    """Batches of cached features or of image-tower output rows; each pass is one epoch."""

    features: Tensor | TokenTable  # (N, V, D) features, or (N, V, 1 + P, D_v) output rows
    labels: Tensor  # (N,) int64
    views: ViewConfig
    batch_size: int
    drop_last: bool
    seed: int
    epoch: int = 0  # the epoch that the next pass shows
    skip: int = 0  # how many batches the next pass leaves out
    with_places: bool = False  # whether each batch says which of the items its rows are

    def __len__(self) -> int:
        return len(batch_bounds(len(self.labels), self.batch_size, self.drop_last))

    def seek(self, epoch: int, batch: int) -> None:
        """Make the next pass begin at the given batch of the given epoch."""
        self.epoch, self.skip = epoch, batch

    def __iter__(self) -> Iterator[PlacedBatch]:
        order, view = epoch_order(len(self.labels), self.views, self.seed, self.epoch)
        skip, self.skip, self.epoch = self.skip, 0, self.epoch + 1
        order, view = order.to(self.features.device), view.to(self.features.device)
        labels = self.labels[order.to(self.labels.device)]
        for start, end in batch_bounds(len(labels), self.batch_size, self.drop_last)[skip:]:
            places = (order[start:end],) if self.with_places else ()
            yield self.features[order[start:end], view[start:end]], labels[start:end], *places


@dataclass
class ImageBatches:
    """Batches of pixels, decoded and cropped during training; passes and epochs are as in FeatureBatches."""

    dataset: FewShotDataset
    items: Sequence[Item]
    preprocess: PreprocessConfig
    views: ViewConfig
    batch_size: int
    drop_last: bool
    seed: int
    workers: int = 0
    epoch: int = 0
    skip: int = 0
    kept: KeptPixels | None = None  # decoded pixels shared by all runs; not used when worker processes decode
    team: Team = ALONE  # only this process's rows of each batch are decoded
    with_places: bool = False

    def __len__(self) -> int:
        return len(batch_bounds(len(self.items), self.batch_size, self.drop_last))

    def seek(self, epoch: int, batch: int) -> None:
        """Make the next pass begin at the given batch of the given epoch; earlier batches are not decoded."""
        self.epoch, self.skip = epoch, batch

    def __iter__(self) -> Iterator[PlacedBatch]:
        order, view = epoch_order(len(self.items), self.views, self.seed, self.epoch)
        skip, self.skip, self.epoch = self.skip, 0, self.epoch + 1
        items = [self.items[index] for index in order.tolist()]
        labels = torch.tensor([item.label for item in items])
        places = tuple((item, (v,)) for item, v in zip(items, view.tolist(), strict=True))
        augmented, min_area = self.views.augment != "none", self.views.min_area
        kept = None if self.workers else self.kept
        images = ViewImages(self.dataset, places, self.preprocess, augmented, self.seed, min_area, kept)
        whole = batch_bounds(len(items), self.batch_size, self.drop_last)[skip:]
        bounds = [self.team.share(start, end) for start, end in whole]
        for (start, end), pixels in zip(bounds, load_batches(images, bounds, self.workers), strict=True):
            yield pixels, labels[start:end], *((order[start:end],) if self.with_places else ())


@dataclass
class EncodedBatches:
    """Image batches that go through a frozen tower each time they are shown, for tables too large to keep."""

    images: ImageBatches
    encode: Callable[[Tensor], Tensor]

    def __len__(self) -> int:
        return len(self.images)

    def seek(self, epoch: int, batch: int) -> None:
        """Make the next pass begin at the given batch of the given epoch."""
        self.images.seek(epoch, batch)

    @property
    def with_places(self) -> bool:
        """Whether each batch says which of the items its rows are."""
        return self.images.with_places

    @with_places.setter
    def with_places(self, wanted: bool) -> None:
        self.images.with_places = wanted

    def __iter__(self) -> Iterator[PlacedBatch]:
        return ((self.encode(pixels), *rest) for pixels, *rest in self.images)


def load_batches(images: Dataset[Tensor], bounds: Sequence[tuple[int, int]], workers: int) -> Iterator[Tensor]:
    """Decode the images between the bounds and yield one batch per pair of bounds: (B, 3, H, W)."""
    loader = DataLoader(
        images,
        batch_sampler=[list(range(start, end)) for start, end in bounds],
        num_workers=workers,
        collate_fn=torch.cat,
        generator=torch.Generator().manual_seed(0),  # otherwise the loader draws a seed from the global generator
    )
    return iter(loader)


def evaluation_batches(
    dataset: FewShotDataset,
    items: Sequence[Item],
    preprocess: PreprocessConfig,
    batch_size: int,
    workers: int = 0,
    kept: KeptPixels | None = None,
) -> Iterator[Batch]:
    """Yield test images and labels in order, none dropped: (B, 3, H, W) and (B,)."""
    places = tuple((item, (0,)) for item in items)
    images = ViewImages(dataset, places, preprocess, False, 0, kept=None if workers else kept)
    labels = torch.tensor([item.label for item in items], dtype=torch.int64)
    bounds = [(start, min(start + batch_size, len(items))) for start in range(0, len(items), batch_size)]
    for (start, end), pixels in zip(bounds, load_batches(images, bounds, workers), strict=True):
        yield pixels, labels[start:end]


def viewed_batches(
    dataset: FewShotDataset,
    items: Sequence[Item],
    backbone: Preparing,
    views: TestViews,
    most_views: int,
    workers: int = 0,
) -> Iterator[Batch]:
    """Test images in several views and their labels, in order, none dropped: (b, V, 3, H, W) and (b,).

    Args:
        most_views: views of all images of a batch together; a batch holds one image at least.
    """
    images = TestViewImages(dataset, items, Prepares(backbone.preprocess, backbone.preprocess_cfg), views)
    at_once = max(1, most_views // views.count)
    labels = torch.tensor([item.label for item in items], dtype=torch.int64)
    bounds = [(start, min(start + at_once, len(items))) for start in range(0, len(items), at_once)]
    for (start, end), pixels in zip(bounds, load_batches(images, bounds, workers), strict=True):
        yield pixels.unflatten(0, (end - start, views.count)), labels[start:end]
