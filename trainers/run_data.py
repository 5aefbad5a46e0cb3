"""What a run feeds to its method, as the method consumes it: training batches, images to keep, test batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from adaptkit import AdaptedCLIP, FrozenCLIP, Support
from datasets_fewshot import FewShotDataset, Item
from trainers.batches import Batch, FeatureBatches, ImageBatches, evaluation_batches
from trainers.encoder import ImageEncoder, ViewImages
from trainers.evaluate import EVAL_BATCH
from trainers.precision import Precision
from trainers.protocols import EvalSet
from trainers.settings import CheckpointConfig, RunConfig
from trainers.views import ViewConfig, batch_bounds

IMAGE_EVAL_BATCH = 100  # images per test batch, as the papers' code has it


@dataclass(frozen=True)
class Bench:
    """What all runs share."""

    backbone: FrozenCLIP
    encoder: ImageEncoder
    precision: Precision
    suite: str
    out: Path
    workers: int = 0
    pretrained: str = ""  # where the weights came from, for the records
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)


def training_batches(
    method: AdaptedCLIP, dataset: FewShotDataset, items: Sequence[Item], config: RunConfig, bench: Bench
) -> FeatureBatches | ImageBatches:
    """Seeded batches of the training images; what a method on features needs is encoded here."""
    views, size, drop_last, seed = config.views, config.optim.batch_size, config.optim.drop_last, config.seed
    if method.consumes == "features":
        device = bench.backbone.device
        epochs = config.optim.epoch_count(len(batch_bounds(len(items), size, drop_last)))
        features = bench.encoder.view_features(dataset, items, views, seed, epochs).to(device)
        return FeatureBatches(features, labels_of(items).to(device), views, size, drop_last, seed)
    preprocess = bench.backbone.preprocess_cfg
    return ImageBatches(dataset, items, preprocess, views, size, drop_last, seed, bench.workers)


def all_at_once(
    method: AdaptedCLIP, dataset: FewShotDataset, items: Sequence[Item], config: RunConfig, bench: Bench, n_views: int
) -> Support:
    """All the items as the method consumes them: (N, ...), or (N, V, ...) where `n_views` random views are wanted."""
    min_area = config.views.min_area
    views = ViewConfig("pool", n_views, min_area) if n_views else ViewConfig("none")
    if method.consumes == "features":
        x = bench.encoder.view_features(dataset, items, views, config.seed, epochs=0)  # (N, V, D)
    else:
        places = tuple((item, tuple(range(max(1, n_views)))) for item in items)
        images = ViewImages(dataset, places, bench.backbone.preprocess_cfg, bool(n_views), config.seed, min_area)
        x = torch.stack([images[index] for index in range(len(images))])  # (N, V, 3, H, W)
    device = bench.backbone.device
    return Support((x if n_views else x[:, 0]).to(device), labels_of(items).to(device))


def test_batches(method: AdaptedCLIP, test: EvalSet, bench: Bench) -> Iterator[Batch]:
    """The test images in order, none dropped."""
    if method.consumes != "features":
        preprocess = bench.backbone.preprocess_cfg
        return evaluation_batches(test.dataset, test.items, preprocess, IMAGE_EVAL_BATCH, bench.workers)
    features = bench.encoder.test_features(test.dataset, test.items)
    return zip(features.split(EVAL_BATCH), labels_of(test.items).split(EVAL_BATCH), strict=True)


def labels_of(items: Sequence[Item]) -> Tensor:
    """(N,) int64."""
    return torch.tensor([item.label for item in items], dtype=torch.int64)
