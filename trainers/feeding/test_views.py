"""Test images in the views that methods which adapt to them look at, as pixels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from adaptkit.backbone.preprocess import PreprocessConfig
from adaptkit.backbone.test_views import TestViews, views_of
from datasets_fewshot import FewShotDataset, Item


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
