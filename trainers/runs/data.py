"""The input of a run's method: training batches, images to keep, test batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from adaptkit import AdaptedCLIP, FrozenCLIP, Support
from datasets_fewshot import FewShotDataset, Item
from trainers.compute.precision import Precision
from trainers.compute.team import ALONE, Team
from trainers.config.settings import CheckpointConfig, RunConfig
from trainers.evaluation.logits import EVAL_BATCH
from trainers.feeding.batches import Batch, EncodedBatches, FeatureBatches, ImageBatches, evaluation_batches
from trainers.feeding.encoder import ImageEncoder, ViewImages
from trainers.feeding.kept_pixels import KeptPixels
from trainers.feeding.views import ViewConfig, batch_bounds
from trainers.protocols.within_and_across import EvalSet

TOKEN_EVAL_BATCH = 100  # Images in a test batch of rows.
IMAGE_EVAL_BATCH = 100  # Images in a test batch, as in the papers' code.


@dataclass(frozen=True)
class Bench:
    """The parts that all runs share."""

    backbone: FrozenCLIP
    encoder: ImageEncoder
    precision: Precision
    suite: str
    out: Path
    workers: int = 0
    pretrained: str = ""  # Origin of the weights, for the records.
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    pixels: KeptPixels = field(default_factory=KeptPixels)
    # Number of processes that train a run together, if its method takes images.
    processes: int = 1
    team: Team = ALONE  # The place of this process among them.


def training_batches(
    method: AdaptedCLIP, dataset: FewShotDataset, items: Sequence[Item], config: RunConfig, bench: Bench
) -> FeatureBatches | ImageBatches | EncodedBatches:
    """Seeded batches of the training images; those for a method on features or rows are encoded here."""
    views, size, drop_last, seed = config.views, config.optim.batch_size, config.optim.drop_last, config.seed
    device = bench.backbone.device
    epochs = config.optim.epoch_count(len(batch_bounds(len(items), size, drop_last)))
    if method.consumes == "features":
        features = bench.encoder.view_features(dataset, items, views, seed, epochs).to(device)
        return FeatureBatches(features, labels_of(items).to(device), views, size, drop_last, seed)
    preprocess = bench.backbone.preprocess_cfg
    images = ImageBatches(dataset, items, preprocess, views, size, drop_last, seed, bench.workers, kept=bench.pixels)
    if method.consumes == "images":
        return replace(images, team=bench.team)
    tokens = bench.encoder.view_tokens(dataset, items, views, seed, epochs)
    if tokens is None:
        return EncodedBatches(images, bench.encoder.encode_tokens)
    return FeatureBatches(tokens, labels_of(items), views, size, drop_last, seed)


def support_of(
    method: AdaptedCLIP, dataset: FewShotDataset, items: Sequence[Item], config: RunConfig, bench: Bench
) -> Support:
    """The support for `prepare`: all items, or as many as the method wants, evenly spaced so that all classes occur."""
    wanted = len(items) if method.support_items is None else min(method.support_items, len(items))
    chosen = [items[index * len(items) // wanted] for index in range(wanted)]
    return all_at_once(method, dataset, chosen, config, bench, method.support_views)


def all_at_once(
    method: AdaptedCLIP, dataset: FewShotDataset, items: Sequence[Item], config: RunConfig, bench: Bench, n_views: int
) -> Support:
    """All the items in the method's kind of input: (N, ...), or (N, V, ...) for `n_views` random views."""
    min_area = config.views.min_area
    views = ViewConfig("pool", n_views, min_area) if n_views else ViewConfig("none")
    tokens = bench.encoder.view_tokens(dataset, items, views, config.seed, 0) if method.consumes == "tokens" else None
    if tokens is not None:
        x = tokens[torch.arange(len(items))]  # (N, V, 1 + P, D_v)
    elif method.consumes == "features":
        x = bench.encoder.view_features(dataset, items, views, config.seed, epochs=0)  # (N, V, D)
    else:
        places = tuple((item, tuple(range(max(1, n_views)))) for item in items)
        images = ViewImages(dataset, places, bench.backbone.preprocess_cfg, bool(n_views), config.seed, min_area)
        every = (images[index] for index in range(len(images)))
        encode = bench.encoder.encode_tokens if method.consumes == "tokens" else torch.Tensor.clone
        x = torch.stack([encode(view) for view in every])  # (N, V, 3, H, W) or (N, V, 1 + P, D_v)
    device = bench.backbone.device
    return Support((x if n_views else x[:, 0]).to(device), labels_of(items).to(device))


def test_batches(method: AdaptedCLIP, test: EvalSet, bench: Bench) -> Iterator[Batch]:
    """Batches of the test images in order, none dropped."""
    labels = labels_of(test.items)
    if method.consumes == "features":
        features = bench.encoder.test_features(test.dataset, test.items)
        return zip(features.split(EVAL_BATCH), labels.split(EVAL_BATCH), strict=True)
    images = evaluation_batches(
        test.dataset, test.items, bench.backbone.preprocess_cfg, IMAGE_EVAL_BATCH, bench.workers, bench.pixels
    )
    if method.consumes == "images":
        return images
    rows = bench.encoder.test_tokens(test.dataset, test.items)
    if rows is None:
        return ((bench.encoder.encode_tokens(pixels), y) for pixels, y in images)
    index = torch.arange(len(labels)).split(TOKEN_EVAL_BATCH)
    return ((rows[part][:, 0], labels[part]) for part in index)


def labels_of(items: Sequence[Item]) -> Tensor:
    """Labels of items, (N,) int64."""
    return torch.tensor([item.label for item in items], dtype=torch.int64)
