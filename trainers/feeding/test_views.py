"""Test images in the views that methods which adapt to them look at, as pixels."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from adaptkit.backbone.preprocess import PreprocessConfig
from adaptkit.backbone.test_views import Preparing, TestViews, views_of
from datasets_fewshot import FewShotDataset, Item
from trainers.feeding.batches import Batch, load_batches


@dataclass(frozen=True)
class Prepares:
    """The part of a backbone that makes its input of pictures; worker processes take it along without the weights."""

    preprocess: Callable[[Image.Image], Tensor]
    preprocess_cfg: PreprocessConfig


@dataclass(frozen=True)
class TestViewImages(Dataset[Tensor]):
    """Dataset of test images: index -> the views of an item, (V, 3, H, W)."""

    __test__ = False  # not a test case, whatever pytest makes of the name

    dataset: FewShotDataset
    items: Sequence[Item]
    prepares: Prepares
    views: TestViews

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Tensor:
        return views_of(self.dataset.load(self.items[index]), self.prepares, self.views)


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
