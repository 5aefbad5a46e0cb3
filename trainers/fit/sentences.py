"""Train a head of sentences (ISA) on unlabelled images: their rows are encoded once, and the steps run on these.

Du et al., arXiv:2403.01431, train on images alone. In the symmetric mode, without a light encoder, a step reads rows of
the frozen image tower; in the asymmetric mode it reads pixels, and the teacher's rows come from the same table.

Departure: token learner and light encoder have one rate, and images are shown as they are, without random crops.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adaptkit import create_head
from adaptkit.artefacts.atomic_file import Json
from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.heads.isa import DistillationConfig, Isa, SentenceTrainee
from adaptkit.options import option, options
from datasets_fewshot import FeatureStore, FewShotDataset, Item, Split, files_hash
from trainers.bounds import MOST_SEED
from trainers.compute.seeds import derived_seed, seeded
from trainers.config.settings import CheckpointConfig
from trainers.config.training import OptimConfig, ViewConfig
from trainers.feeding.batches import EncodedBatches, FeatureBatches, ImageBatches
from trainers.feeding.encoder import ImageEncoder
from trainers.feeding.kept_pixels import KeptPixels
from trainers.feeding.token_table import TokenTable
from trainers.runs.records import run_id
from trainers.training.checkpoints import Checkpoints
from trainers.training.few_shot import SeekableBatches, train

AS_THEY_ARE = ViewConfig("none")
ENOUGH = 256  # images of a batch that are a bank by themselves
QUEUE = 4096  # teacher features of a bank otherwise
WARM_UP = 0.05  # share of the steps
EVERY_MINUTE = CheckpointConfig()


@options
class SentenceTraining:
    """How a head of sentences is trained: AdamW, the rate falling by a cosine to 0 behind a short rise."""

    epochs: int = option(20, "Passes over the images.", least=1)
    lr: float = option(1e-4, "AdamW's highest rate; 1e-3 for thousands of images rather than a million.", above=0)
    weight_decay: float = option(0.01, "AdamW's.", least=0)
    batch_size: int = option(256, "Images of a step, which are each other's negatives.", least=2)
    lambda_: float = option(1.0, "Weight of the local alignment regularisation; 0 leaves it out.", least=0)
    tau: float = option(0.07, "Temperature of the distillation and of the contrast.", above=0)
    bank: int | None = option(
        None, "Teacher features beside those of the batch; null for none with 256 images or more, else 4096.", least=0
    )
    seed: int = option(1, "Of the first weights and of the order of images.", least=0, most=MOST_SEED)

    @property
    def loss(self) -> DistillationConfig:
        """What is minimised."""
        bank = self.bank if self.bank is not None else 0 if self.batch_size >= ENOUGH else QUEUE
        return DistillationConfig(self.lambda_, self.tau, bank)

    @property
    def optim(self) -> OptimConfig:
        """How it is stepped."""
        return OptimConfig(
            name="adamw",
            lr=self.lr,
            weight_decay=self.weight_decay,
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr_scheduler="cosine_steps",
            warmup_epochs=0,
            warmup_share=WARM_UP,
        )


@dataclass(frozen=True)
class Learnt:
    """A trained head in eval mode, and the mean loss of each epoch."""

    head: Isa
    losses: tuple[float, ...]


def unlabelled(root: Path, names: Sequence[str]) -> FewShotDataset:
    """Images without labels as a data set.

    Args:
        names: paths below the root.
    """
    items = tuple(Item(name, 0, "image") for name in names)
    return FewShotDataset(root.name, root, Split(items, (), ()), reading="upright")


def fit_sentences(
    images: FewShotDataset,
    backbone: FrozenCLIP,
    settings: SentenceTraining,
    *,
    store: FeatureStore,
    work: Path | None = None,
    checkpoint: CheckpointConfig = EVERY_MINUTE,
    workers: int = 0,
    on_epoch: Callable[[int], None] | None = None,
    **head_options: Any,
) -> Learnt:
    """Make a head and train it on the training images of a data set, whose labels are not read.

    Args:
        store: keeps the rows of the image tower on disk.
        work: a folder for checkpoints; the same call goes on from where an earlier one was stopped.
        checkpoint: how often.
        workers: processes that decode images.
        on_epoch: called with the number of finished epochs.
        head_options: of `IsaConfig`.

    Raises:
        ValueError: if there are fewer than two images, or the head cannot be made.
        BadImageError: if one cannot be read.
        DivergedError: if the loss is not finite.
    """
    items = images.split.train
    if len(items) < 2:
        raise ValueError(f"{len(items)} image to learn from; two or more are needed, as they are told apart")
    with seeded(derived_seed("sentences", settings.seed), backbone.device):
        head = create_head("isa", backbone, **head_options)
        assert isinstance(head, Isa)
        facts: dict[str, Json] = {
            "head": _digest(head),
            "options": json.loads(json.dumps(asdict(head.config))),
            "settings": json.loads(json.dumps(asdict(settings))),
            "weights": backbone.weights_hash,
            "images": files_hash(images.image_root, items, images.moved),
        }
        encoder = ImageEncoder(backbone, store, "fp32", workers, KeptPixels())
        table = encoder.view_tokens(images, items, AS_THEY_ARE, 0, 0)
        trainee = SentenceTrainee(head, settings.loss, table)
        batches = _batches(images, head, settings, encoder, table)
        kept = None if work is None else Checkpoints(work, run_id(facts), checkpoint)
        log = train(trainee, batches, settings.optim, on_epoch=on_epoch, checkpoints=kept)
    return Learnt(head.eval(), log.losses)


def _batches(
    images: FewShotDataset, head: Isa, settings: SentenceTraining, encoder: ImageEncoder, table: TokenTable | None
) -> SeekableBatches:
    """Rows for a head without an encoder, from the table or computed anew where it is too large; else pixels."""
    items, backbone = images.split.train, head.backbone
    if table is not None and head.consumes == "tokens":
        labels = torch.zeros(len(items), dtype=torch.int64)
        return FeatureBatches(table, labels, AS_THEY_ARE, settings.batch_size, True, settings.seed, with_places=True)
    pixels = ImageBatches(
        images,
        items,
        backbone.preprocess_cfg,
        AS_THEY_ARE,
        settings.batch_size,
        True,
        settings.seed,
        encoder.workers,
        kept=encoder.kept,
        with_places=True,
    )
    return EncodedBatches(pixels, encoder.encode_tokens) if head.consumes == "tokens" else pixels


def _digest(head: Isa) -> str:
    """SHA-256 in hex of what a head has learnt."""
    digest = hashlib.sha256()
    for name, tensor in sorted(head.learnt_state().items()):
        digest.update(name.encode() + _bytes(tensor))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().numpy().tobytes()
