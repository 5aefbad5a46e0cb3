"""One locality alignment, from images without labels to a saved adapter: what `adaptkit align` calls."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from adaptkit import FrozenCLIP, TrainingFacts, create_method
from adaptkit.artefacts.atomic_file import Json, write_text
from adaptkit.weights.locality_alignment import (
    AlignmentConfig,
    LocalityAligner,
    LocalityAlignment,
    LocalityAlignmentConfig,
)
from datasets_fewshot import FewShotDataset, Item, files_hash
from trainers.compute.precision import choose_precision
from trainers.compute.seeds import derived_seed, seeded
from trainers.config.settings import CheckpointConfig
from trainers.config.training import OptimConfig, ViewConfig
from trainers.feeding.batches import ImageBatches, evaluation_batches
from trainers.feeding.kept_pixels import KeptPixels
from trainers.pairs.main import check_folder
from trainers.training.checkpoints import Checkpoints, discard_checkpoints
from trainers.training.few_shot import train

SUMMARY_FILE = "alignment.json"
SCALE_IMAGES = 256  # that the factor c is measured on
BETAS = (0.9, 0.95)  # the released code's
LAST_SHARE = 0.1  # of the rate, where its cosine ends


@dataclass(frozen=True)
class Alignment:
    """How a tower is aligned.

    Args:
        lr: rate of the updates; the decoder and the head have `decoder_lr`.
        min_area: the smallest random crop, as a share of the image's area; 1 shows every image as a test image.
    """

    method: LocalityAlignmentConfig = field(default_factory=LocalityAlignmentConfig)
    loss: AlignmentConfig = field(default_factory=AlignmentConfig)
    epochs: int = 5
    batch_size: int = 64
    lr: float = 5e-4
    decoder_lr: float = 3e-4
    weight_decay: float = 0.01
    min_area: float = 0.5
    seed: int = 1

    @property
    def optim(self) -> OptimConfig:
        """The schedule: a cosine by steps from `lr` to a tenth of it, without warm-up, and gradients clipped at 1."""
        return OptimConfig(
            name="adamw",
            lr=self.lr,
            min_lr=LAST_SHARE * self.lr,
            weight_decay=self.weight_decay,
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr_scheduler="cosine_steps",
            warmup_epochs=0,
            clip_norm=1.0,
        )

    @property
    def views(self) -> ViewConfig:
        return ViewConfig("none") if self.min_area == 1 else ViewConfig("exact", min_area=self.min_area)


@dataclass(frozen=True)
class Aligned:
    """An aligned method and its training."""

    method: LocalityAlignment
    scale: float  # the factor c of the targets
    losses: tuple[float, ...]  # mean loss of each epoch
    images: int


def align(
    dataset: FewShotDataset,
    backbone: FrozenCLIP,
    settings: Alignment,
    *,
    work: Path | None = None,
    checkpoint: CheckpointConfig | None = None,
    workers: int = 0,
    on_epoch: Callable[[int], None] | None = None,
) -> Aligned:
    """Align the image tower of a backbone on the training images of a data set; no label is read.

    Args:
        work: a folder for checkpoints; the same call goes on from where an earlier one was stopped.
        checkpoint: how often; None for every minute.
        on_epoch: called with the number of finished passes over the images.

    Raises:
        ValueError: if the tower is no vision transformer, or there are no training images.
        DivergedError: if the loss is not finite.
    """
    items = dataset.split.train
    if not items:
        raise ValueError(f"{dataset.name} has no training images; an alignment needs some")
    with seeded(derived_seed("align", settings.seed), backbone.device):
        method = create_method("locality_alignment", backbone, None, settings.method)
        assert isinstance(method, LocalityAlignment)
        aligner = LocalityAligner(method, settings.loss)
        aligner.measure_scale(_scale_images(dataset, backbone, settings, workers))
        batches = ImageBatches(
            dataset,
            items,
            backbone.preprocess_cfg,
            settings.views,
            min(settings.batch_size, len(items)),
            True,
            settings.seed,
            workers,
            kept=KeptPixels(),
        )
        kept = None
        if work is not None:
            kept = Checkpoints(work, _identity(dataset, backbone, settings), checkpoint or CheckpointConfig())
        log = train(
            aligner,
            batches,
            settings.optim,
            precision=choose_precision("auto", backbone.device),
            on_epoch=on_epoch,
            checkpoints=kept,
            optimizer=build_optimizer(aligner, settings),
        )
    return Aligned(method.eval(), aligner.scale, log.losses, len(items))


def build_optimizer(aligner: LocalityAligner, settings: Alignment) -> torch.optim.AdamW:
    """AdamW with a rate for the updates and one for head and decoder; biases, norms and scales are not decayed."""
    updates = {id(parameter) for parameter in aligner.method.parameters()}
    undecayed = aligner.undecayed()
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in aligner.learnt_parameters().items():
        share = 1.0 if id(parameter) in updates else settings.decoder_lr / settings.lr
        decay = 0.0 if name in undecayed else settings.weight_decay
        groups.setdefault((share, decay), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": found, "share": share, "weight_decay": decay} for (share, decay), found in groups.items()],
        lr=settings.lr,
        betas=BETAS,
    )


def save(aligned: Aligned, dataset: FewShotDataset, settings: Alignment, out: Path) -> Path:
    """Write the adapter, which holds the updates alone, and the facts of its training beside it."""
    method, cfg = aligned.method, aligned.method.backbone.preprocess_cfg
    facts: dict[str, Json] = {
        "data": dataset.name,
        "images": aligned.images,
        "resolution": list(cfg.image_size),
        "weights_hash": method.backbone.weights_hash,
        "c": aligned.scale,
        "losses": list(aligned.losses),
        "settings": json.loads(json.dumps(asdict(settings))),
    }
    note = (
        f"Aligned without labels on {aligned.images} images at {' x '.join(map(str, cfg.image_size))} pixels: masks "
        f"{settings.loss.masks}, loss {settings.loss.loss}, targets times {aligned.scale:.6g}, beta "
        f"{settings.loss.beta:g}, scope {settings.method.scope}."
    )
    training = TrainingFacts(dataset.name, 0, seed=settings.seed, epochs=len(aligned.losses), notes=(note,))
    folder = method.save_pretrained(out, training)
    write_text(out / SUMMARY_FILE, json.dumps(facts, indent=1) + "\n")
    return folder


def align_into(
    out: Path,
    dataset: FewShotDataset,
    backbone: FrozenCLIP,
    settings: Alignment,
    *,
    checkpoint: CheckpointConfig | None = None,
    workers: int = 0,
    on_epoch: Callable[[int], None] | None = None,
) -> Aligned:
    """Align and save, with checkpoints in the adapter's folder while it lasts.

    Raises:
        ValueError: if the folder holds something else, or as in `align`.
        DivergedError: if the loss is not finite.
    """
    check_folder(out)
    aligned = align(dataset, backbone, settings, work=out, checkpoint=checkpoint, workers=workers, on_epoch=on_epoch)
    save(aligned, dataset, settings, out)
    discard_checkpoints(out)
    return aligned


def _scale_images(dataset: FewShotDataset, backbone: FrozenCLIP, settings: Alignment, workers: int) -> Iterator[Tensor]:
    """Validation images, or the first training images where there are none, as they are tested."""
    items: tuple[Item, ...] = (dataset.split.val or dataset.split.train)[:SCALE_IMAGES]
    size = settings.loss.chunk
    for pixels, _ in evaluation_batches(dataset, items, backbone.preprocess_cfg, size, workers):
        yield pixels.to(backbone.device)


def _identity(dataset: FewShotDataset, backbone: FrozenCLIP, settings: Alignment) -> str:
    """Hash of all that decides the training, so that checkpoints of another one are left alone."""
    facts = [
        repr(settings),
        backbone.weights_hash,
        files_hash(dataset.image_root, dataset.split.train, dataset.moved),
        files_hash(dataset.image_root, dataset.split.val[:SCALE_IMAGES], dataset.moved),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
