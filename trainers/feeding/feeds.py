"""Feeds: the way from images on disk to the input of a method, one for each kind of input that methods consume.

A feed gives training batches, all images of a set at once, and test batches. `feed_of` decides once which feed a method
needs; the code behind it never asks what the method consumes.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from adaptkit import AdaptedCLIP, FrozenCLIP, Support
from adaptkit.backbone.inputs import Consumes
from adaptkit.backbone.test_views import TestViews
from datasets_fewshot import FewShotDataset, Item
from trainers.compute.team import Team
from trainers.config.settings import RunConfig
from trainers.config.training import ViewConfig
from trainers.evaluation.logits import EVAL_BATCH
from trainers.feeding.batches import Batch, EncodedBatches, FeatureBatches, ImageBatches, evaluation_batches
from trainers.feeding.encoder import ImageEncoder, ViewImages
from trainers.feeding.kept_pixels import KeptPixels
from trainers.feeding.views import batch_bounds
from trainers.protocols.task import EvalSet

TOKEN_EVAL_BATCH = 100  # images per test batch of output rows
IMAGE_EVAL_BATCH = 100  # images per test batch, as in the papers' code

TrainingBatches = FeatureBatches | ImageBatches | EncodedBatches


@dataclass(frozen=True)
class Feed(ABC):
    """The images of a data set as the input of methods that consume one kind of input.

    Args:
        encoder: the frozen image tower and its store of encoded images.
        workers: processes that decode images.
        pixels: memory of decoded images.
        team: the processes that train one run together.
        views: the views of each test image that the method looks at; None for the image as it is.
    """

    backbone: FrozenCLIP
    encoder: ImageEncoder
    workers: int
    pixels: KeptPixels
    team: Team
    views: TestViews | None = None

    @abstractmethod
    def training(self, dataset: FewShotDataset, items: Sequence[Item], config: RunConfig) -> TrainingBatches:
        """Seeded batches of training images; the output of frozen parts of the image tower is computed here, once."""

    @abstractmethod
    def together(self, dataset: FewShotDataset, items: Sequence[Item], views: ViewConfig, seed: int) -> Tensor:
        """All images at once: (N, V, ...), with V views of each image; V is 1 without augmentation."""

    def test(self, test: EvalSet) -> Iterator[Batch]:
        """Batches of the test images, in order and complete: (b, ...), or (b, V, ...) where views are wanted."""
        return self._images_of(test) if self.views is None else self._views_of(test, self.views)

    @abstractmethod
    def _images_of(self, test: EvalSet) -> Iterator[Batch]:
        """Batches of the test images as they are."""

    @abstractmethod
    def _views_of(self, test: EvalSet, views: TestViews) -> Iterator[Batch]:
        """Batches of the test images in several views."""

    def support(
        self, method: AdaptedCLIP, dataset: FewShotDataset, items: Sequence[Item], config: RunConfig
    ) -> Support:
        """The training images for `prepare`: all of them, or as many as the method asks for, taken at even distances.

        Draws list their items class by class, so even distances give some images of every class.
        """
        wanted = len(items) if method.support_items is None else min(method.support_items, len(items))
        chosen = [items[index * len(items) // wanted] for index in range(wanted)]
        return self.all_at_once(dataset, chosen, config, method.support_views)

    def all_at_once(
        self, dataset: FewShotDataset, items: Sequence[Item], config: RunConfig, n_views: int = 0
    ) -> Support:
        """Labelled images at once: (N, ...), or (N, V, ...) with `n_views` random views of each."""
        views = ViewConfig("pool", n_views, config.views.min_area) if n_views else ViewConfig("none")
        x = self.together(dataset, items, views, config.seed)
        device = self.backbone.device
        return Support((x if n_views else x[:, 0]).to(device), labels_of(items).to(device))

    def _images(self, dataset: FewShotDataset, items: Sequence[Item], config: RunConfig) -> ImageBatches:
        optim = config.optim
        return ImageBatches(
            dataset,
            items,
            self.backbone.preprocess_cfg,
            config.views,
            optim.batch_size,
            optim.drop_last,
            config.seed,
            self.workers,
            kept=self.pixels,
        )

    def _views(self, dataset: FewShotDataset, items: Sequence[Item], views: ViewConfig, seed: int) -> Iterator[Tensor]:
        """The views of each image, one image at a time: (V, 3, H, W)."""
        random = views.augment == "pool"
        places = tuple((item, tuple(range(views.n_views if random else 1))) for item in items)
        images = ViewImages(dataset, places, self.backbone.preprocess_cfg, random, seed, views.min_area)
        return (images[index] for index in range(len(images)))

    def _test_images(self, test: EvalSet) -> Iterator[Batch]:
        preprocess = self.backbone.preprocess_cfg
        return evaluation_batches(test.dataset, test.items, preprocess, IMAGE_EVAL_BATCH, self.workers, self.pixels)

    def _shown(self, test: EvalSet, views: TestViews) -> Iterator[Batch]:
        """Test images as pixels in several views, (b, V, 3, H, W), and their labels."""
        start, labels = 0, labels_of(test.items)
        for pixels in self.encoder.view_pixels(test.dataset, test.items, views):
            yield pixels, labels[start : start + len(pixels)]
            start += len(pixels)


class FeaturesFeed(Feed):
    """Feed of frozen image features (B, D), which are encoded once and kept."""

    def training(self, dataset: FewShotDataset, items: Sequence[Item], config: RunConfig) -> TrainingBatches:
        views, optim, device = config.views, config.optim, self.backbone.device
        features = self.encoder.view_features(dataset, items, views, config.seed, _epochs(items, config)).to(device)
        labels = labels_of(items).to(device)
        return FeatureBatches(features, labels, views, optim.batch_size, optim.drop_last, config.seed)

    def together(self, dataset: FewShotDataset, items: Sequence[Item], views: ViewConfig, seed: int) -> Tensor:
        return self.encoder.view_features(dataset, items, views, seed, epochs=0)  # (N, V, D)

    def _images_of(self, test: EvalSet) -> Iterator[Batch]:
        labels = labels_of(test.items)
        features = self.encoder.test_features(test.dataset, test.items)
        return zip(features.split(EVAL_BATCH), labels.split(EVAL_BATCH), strict=True)

    def _views_of(self, test: EvalSet, views: TestViews) -> Iterator[Batch]:
        labels = labels_of(test.items)
        features, at_once = self.encoder.test_view_features(test.dataset, test.items, views), 1
        if isinstance(features, Tensor):
            at_once = max(1, EVAL_BATCH // views.count)
            features = iter(features.split(at_once))
        else:
            features = (one[None] for one in features)
        return zip(features, labels.split(at_once), strict=True)


@dataclass(frozen=True)
class TokensFeed(Feed):
    """Feed of the frozen image tower's output rows (B, 1 + P, D_v), kept on disk if there is room.

    Args:
        first_only: whether the first row is all that is read; then P is 0.
    """

    first_only: bool = False

    def training(self, dataset: FewShotDataset, items: Sequence[Item], config: RunConfig) -> TrainingBatches:
        views, optim = config.views, config.optim
        tokens = self.encoder.view_tokens(
            dataset, items, views, config.seed, _epochs(items, config), first_only=self.first_only
        )
        if tokens is None:
            return EncodedBatches(self._images(dataset, items, config), self._encode)
        return FeatureBatches(tokens, labels_of(items), views, optim.batch_size, optim.drop_last, config.seed)

    def together(self, dataset: FewShotDataset, items: Sequence[Item], views: ViewConfig, seed: int) -> Tensor:
        tokens = self.encoder.view_tokens(dataset, items, views, seed, 0, first_only=self.first_only)
        if tokens is not None:
            return tokens[torch.arange(len(items))]  # (N, V, 1 + P, D_v)
        every = self._views(dataset, items, views, seed)
        return torch.stack([self._encode(images) for images in every])

    def _images_of(self, test: EvalSet) -> Iterator[Batch]:
        rows = self.encoder.test_tokens(test.dataset, test.items, first_only=self.first_only)
        if rows is None:
            return ((self._encode(pixels), labels) for pixels, labels in self._test_images(test))
        labels = labels_of(test.items)
        index = torch.arange(len(labels)).split(TOKEN_EVAL_BATCH)
        return ((rows[part][:, 0], labels[part]) for part in index)

    def _views_of(self, test: EvalSet, views: TestViews) -> Iterator[Batch]:
        shown = self._shown(test, views)
        return ((self._encode(x.flatten(0, 1)).unflatten(0, x.shape[:2]), labels) for x, labels in shown)

    def _encode(self, images: Tensor) -> Tensor:
        return self.encoder.encode_tokens(images, first_only=self.first_only)


class ImagesFeed(Feed):
    """Feed of preprocessed images (B, 3, H, W): the method runs the image tower, and processes may share a batch."""

    def training(self, dataset: FewShotDataset, items: Sequence[Item], config: RunConfig) -> TrainingBatches:
        return replace(self._images(dataset, items, config), team=self.team)

    def together(self, dataset: FewShotDataset, items: Sequence[Item], views: ViewConfig, seed: int) -> Tensor:
        return torch.stack([images.clone() for images in self._views(dataset, items, views, seed)])  # (N, V, 3, H, W)

    def _images_of(self, test: EvalSet) -> Iterator[Batch]:
        return self._test_images(test)

    def _views_of(self, test: EvalSet, views: TestViews) -> Iterator[Batch]:
        return self._shown(test, views)


FEEDS: dict[Consumes, type[Feed]] = {"features": FeaturesFeed, "tokens": TokensFeed, "images": ImagesFeed}


def labels_of(items: Sequence[Item]) -> Tensor:
    """Labels of the items: (N,) int64."""
    return torch.tensor([item.label for item in items], dtype=torch.int64)


def _epochs(items: Sequence[Item], config: RunConfig) -> int:
    batches = batch_bounds(len(items), config.optim.batch_size, config.optim.drop_last)
    return config.optim.epoch_count(len(batches))
