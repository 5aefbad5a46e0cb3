"""Train a mapping model on features of regions that were encoded once: steps, checkpoints, and going on.

The recipe of the released code (StanfordMIMI/villa 9b29196, DocMNIST): AdamW at 1e-4 with torch's weight decay, 48
images a step, 30 epochs, a constant rate.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from adaptkit.artefacts.atomic_file import Json
from adaptkit.heads.villa import RegionAttributeMapper
from adaptkit.heads.villa.trainee import MapperInTraining
from adaptkit.options import option, options
from trainers.bounds import MOST_SEED
from trainers.compute.seeds import derived_seed, seeded
from trainers.config.settings import CheckpointConfig
from trainers.config.training import OptimConfig
from trainers.runs.records import run_id
from trainers.training.checkpoints import Checkpoints
from trainers.training.few_shot import DivergedError, train

EVERY_MINUTE = CheckpointConfig()


@options
class MapperTraining:
    """How a mapping model is trained."""

    epochs: int = option(30, "Passes over the images.", least=1)
    lr: float = option(1e-4, "AdamW's learning rate, which stays.", above=0)
    weight_decay: float = option(0.01, "AdamW's.", least=0)
    batch_size: int = option(48, "Images of a step, which are each other's negatives.", least=2)
    seed: int = option(1, "Of the order of images.", least=0, most=MOST_SEED)

    @property
    def optim(self) -> OptimConfig:
        """The same for the training loop."""
        return OptimConfig(
            name="adamw",
            lr=self.lr,
            weight_decay=self.weight_decay,
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr_scheduler="constant",
            warmup_epochs=0,
        )


class RegionRows(Protocol):
    """Regions of N images, in memory or on disk."""

    @property
    def counts(self) -> Tensor: ...  # (N,) regions of each image

    @property
    def digest(self) -> str: ...  # of all features

    def rows_of(self, images: Sequence[int]) -> Tensor: ...  # features (R, D), image after image


@dataclass(frozen=True)
class RegionsInMemory:
    """Features (R_1 + ... + R_N, D) of regions, with counts (N,)."""

    features: Tensor
    counts: Tensor

    @property
    def digest(self) -> str:
        """SHA-256 of the features."""
        return hashlib.sha256(self.features.detach().float().cpu().contiguous().numpy().tobytes()).hexdigest()

    def rows_of(self, images: Sequence[int]) -> Tensor:
        """Features (R, D) of the regions of some images, image after image."""
        parts = self.features.split(self.counts.tolist())
        return torch.cat([parts[image] for image in images])


class MappingBatches:
    """Regions, labels and counts of drawn images; batches in which no image lists any attribute are left out.

    Args:
        images: numbers of the training images.
        labels: (N, A) of all images.
    """

    def __init__(self, regions: RegionRows, images: Sequence[int], labels: Tensor, batch_size: int, seed: int):
        self.regions, self.images, self.labels = regions, list(images), labels
        self.batch_size, self.seed = batch_size, seed
        self.epoch = self.skipped = 0

    def __len__(self) -> int:
        return -(-len(self.images) // self.batch_size)

    def seek(self, epoch: int, batch: int) -> None:
        """Let the next pass begin at a batch of an epoch."""
        self.epoch, self.skipped = epoch, batch

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        generator = torch.Generator().manual_seed(derived_seed("regions", self.seed, self.epoch))
        order = torch.randperm(len(self.images), generator=generator).tolist()
        chosen = [self.images[place] for place in order]
        batches = [chosen[at : at + self.batch_size] for at in range(0, len(chosen), self.batch_size)]
        taught = [batch for batch in batches if self.labels[batch].any()]
        first, self.epoch, self.skipped = self.skipped, self.epoch + 1, 0
        for batch in taught[first:]:
            yield self.regions.rows_of(batch), self.labels[batch], self.regions.counts[batch]


def train_mapper(
    mapper: RegionAttributeMapper,
    regions: RegionRows,
    labels: Tensor,
    settings: MapperTraining,
    *,
    images: Sequence[int] | None = None,
    work: Path | None = None,
    checkpoint: CheckpointConfig = EVERY_MINUTE,
    on_epoch: Callable[[int], None] | None = None,
) -> tuple[float, ...]:
    """Train a mapping model and leave it in eval mode; returns the mean loss of each epoch.

    Args:
        regions: of N images.
        labels: (N, A), 1 or True where an image lists an attribute.
        images: numbers of the images to learn from; None for all.
        work: a folder for checkpoints; the same call goes on from where an earlier one was stopped.
        checkpoint: how often.
        on_epoch: called with the number of finished epochs.

    Raises:
        ValueError: if the labels are not of these images and attributes, or no image lists any attribute.
        ArithmeticError: if the loss is not finite.

    Example:
        ```python
        from adaptkit.heads.villa import grid_boxes, picture_features
        from trainers.fit.regions import MapperTraining, RegionsInMemory, train_mapper

        backbone = adaptkit.load_backbone("adaptkit-mini")
        pictures = [Image.open("photo.jpg").convert("RGB"), Image.new("RGB", (48, 48), "red")]
        rows = picture_features(backbone, pictures, [grid_boxes()] * 2)
        mapper = adaptkit.create_head("villa", backbone, attributes=("bell", "red"))
        regions = RegionsInMemory(rows, torch.tensor([14, 14]))
        train_mapper(mapper, regions, torch.eye(2), MapperTraining(epochs=2))
        ```
    """
    images = range(len(regions.counts)) if images is None else images
    if labels.shape != (len(regions.counts), len(mapper.attributes)):
        raise ValueError(
            f"labels {tuple(labels.shape)} for {len(regions.counts)} images and {len(mapper.attributes)} attributes; "
            f"expected ({len(regions.counts)}, {len(mapper.attributes)})"
        )
    if not labels[list(images)].any():
        raise ValueError(
            f"none of {len(images)} training images lists any of {len(mapper.attributes)} attributes, such as "
            f"{mapper.attributes[0]!r}; give attributes that their texts name"
        )
    kept = None
    if work is not None:
        facts: dict[str, Json] = {
            "head": json.loads(json.dumps(asdict(mapper.config))),
            "backbone": mapper.backbone.weights_hash,
            "settings": json.loads(json.dumps(asdict(settings))),
            "regions": regions.digest,
            "labels": hashlib.sha256(labels.to(torch.uint8).numpy().tobytes()).hexdigest(),
            "images": list(images),
        }
        kept = Checkpoints(work, run_id(facts), checkpoint)
    batches = MappingBatches(regions, images, labels, settings.batch_size, settings.seed)
    try:
        with seeded(settings.seed, mapper.device):
            log = train(MapperInTraining(mapper), batches, settings.optim, on_epoch=on_epoch, checkpoints=kept)
    except DivergedError as error:
        raise ArithmeticError(
            f"{str(error).partition(';')[0]}; lower the learning rate (now {settings.lr:g})"
        ) from None
    mapper.eval()
    return log.losses
