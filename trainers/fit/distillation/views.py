"""What student and teacher see of an image: squashed to a square first, as the released code does.

    training   student: random crop and flip of the square, behind RandAugment(2, 9) for transformers
               teacher: the square as it is
    test       student: the whole image, squashed to its own size

Departure: at test the released student sees the middle 224 of 256 pixels; ours sees the whole square, which the
preprocessing that a backbone keeps can say.
Departure: the square has 8/7 of the larger of both image sizes, which is 256 for the paper's 224.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import partial

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import RandAugment
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.preprocess import PreprocessConfig
from adaptkit.backbone.student_tower import StudentPlan
from datasets_fewshot import FeatureKey, FeatureStore, FewShotDataset, Item, files_hash, train_transform
from trainers.compute.seeds import seeded
from trainers.config.training import ViewConfig
from trainers.feeding.batches import PlacedBatch, evaluation_batches, load_batches
from trainers.feeding.kept_pixels import KeptPixels
from trainers.feeding.views import batch_bounds, epoch_order, view_seed

MARGIN = 8 / 7  # 256 / 224
RANDOM = (2, 9)  # operations and strength of RandAugment
VIEWS = ViewConfig("exact")
TEACHER_BATCH = 256


@dataclass(frozen=True)
class SquashedDataset(FewShotDataset):
    """A data set whose images are squares of one side in pixels; their aspect ratio is lost."""

    side: int = 256
    kept: KeptPixels = field(default_factory=KeptPixels, hash=False, compare=False)

    def load(self, item: Item) -> Image.Image:
        """The item's image, squashed; its pixels are kept in memory as long as there is room."""
        return to_pil_image(self.kept.get(item.path, partial(self._squashed, item)))

    def _squashed(self, item: Item) -> Tensor:
        image = super().load(item).resize((self.side, self.side), Image.Resampling.BICUBIC)
        return pil_to_tensor(image)


def squashed(dataset: FewShotDataset, student: StudentPlan, teacher: FrozenCLIP) -> SquashedDataset:
    """The data set with images of the side that suits both."""
    side = round(MARGIN * max(student.image_size, *teacher.preprocess_cfg.image_size))
    content = {entry.name: getattr(dataset, entry.name) for entry in fields(FewShotDataset)}
    return SquashedDataset(**content, side=side)


@torch.no_grad()
def teacher_features(
    dataset: SquashedDataset, items: Sequence[Item], teacher: FrozenCLIP, store: FeatureStore | None, workers: int = 0
) -> Tensor:
    """What the teacher has of images as they are: (N, D) on its device, not normalised; kept on disk with a store."""

    def encode() -> Iterator[Tensor]:
        for pixels, _ in evaluation_batches(dataset, items, teacher.preprocess_cfg, TEACHER_BATCH, workers):
            yield teacher.encode_image(pixels.to(teacher.device))

    if store is None:
        return torch.cat(list(encode()))
    preprocess = teacher.preprocess_cfg
    key = FeatureKey(
        weights_hash=teacher.weights_hash,
        transform=f"squashed to {dataset.side} px, then evaluation, {preprocess}; {dataset.reading}",
        items_hash=files_hash(dataset.image_root, items, dataset.moved),
        dtype="float32",
    )
    return store.features(key, len(items), encode).to(teacher.device)


@dataclass(frozen=True)
class StudentViews(Dataset[Tensor]):
    """Random training views of a student: index -> (1, 3, H, W) for the item and view number of `places[index]`."""

    dataset: SquashedDataset
    places: tuple[tuple[Item, int], ...]
    preprocess: PreprocessConfig
    rand_augment: bool
    seed: int

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Tensor:
        item, view = self.places[index]
        return student_view(
            self.dataset.load(item), self.preprocess, self.rand_augment, view_seed(self.seed, item.path, view)
        )[None]


def student_view(image: Image.Image, preprocess: PreprocessConfig, rand_augment: bool, seed: int) -> Tensor:
    """The random training view of a seed: (3, H, W)."""
    p = preprocess
    with seeded(seed, torch.device("cpu")):
        changed = RandAugment(*RANDOM)(image) if rand_augment else image
        return train_transform(p.image_size[0], p.mean, p.std, p.interpolation)(changed)


@dataclass
class StudentBatches:
    """Batches (images, labels, places) of a student's training views; each pass is one epoch with views of its own."""

    dataset: SquashedDataset
    items: Sequence[Item]
    preprocess: PreprocessConfig
    rand_augment: bool
    batch_size: int
    seed: int
    with_places: bool = True  # without them the teacher sees the student's views
    workers: int = 0
    epoch: int = 0  # the epoch that the next pass shows
    skip: int = 0  # how many batches the next pass leaves out

    def __len__(self) -> int:
        return len(self._bounds())

    def _bounds(self) -> list[tuple[int, int]]:
        return batch_bounds(len(self.items), self.batch_size, drop_last=True)

    def seek(self, epoch: int, batch: int) -> None:
        """Make the next pass begin at the given batch of the given epoch."""
        self.epoch, self.skip = epoch, batch

    def __iter__(self) -> Iterator[PlacedBatch]:
        order, view = epoch_order(len(self.items), VIEWS, self.seed, self.epoch)
        bounds = self._bounds()[self.skip :]
        self.skip, self.epoch = 0, self.epoch + 1
        items = [self.items[place] for place in order.tolist()]
        labels = torch.tensor([item.label for item in items])
        views = StudentViews(
            self.dataset,
            tuple(zip(items, view.tolist(), strict=True)),
            self.preprocess,
            self.rand_augment,
            self.seed,
        )
        for (start, end), pixels in zip(bounds, load_batches(views, bounds, self.workers), strict=True):
            yield pixels, labels[start:end], *((order[start:end],) if self.with_places else ())
