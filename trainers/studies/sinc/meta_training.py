"""Train a meta-model once per backbone, on episodes over frozen features of labelled images.

The classes of a pool are those of its data sets, without any that shares its words with a class of the data sets that
are held out; only training images are used. The classes of an episode are those of one data set, or clusters of the
texts of all, which have many images.

The meta-model of the embedded backbone was made in a few minutes on a CPU core by

    adaptkit sinc train --datasets icons,emoji_subgroups,emoji_animals,emoji_objects \
        --hold-out openclipart,fashion_mnist --width 128 --mlp-ratio 2 --steps 1000 --batch-size 16 --lr 0.001 \
        --out adaptkit/mini/sinc_meta.safetensors
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit import AdaptedCLIP, ClassSet, FrozenCLIP, class_weights
from adaptkit.artefacts.atomic_file import Json
from adaptkit.features.sinc_meta import (
    EpisodeMix,
    Labelling,
    MetaModel,
    MetaShape,
    Pool,
    Provenance,
    draw_batch,
    write_meta_model,
)
from adaptkit.features.sinc_meta.names import related_to
from datasets_fewshot import FewShotDataset, Item
from trainers.compute.seeds import derived_seed, seeded
from trainers.config.training import OptimConfig, ViewConfig
from trainers.feeding.encoder import ImageEncoder
from trainers.runs.data import Bench
from trainers.runs.records import run_id
from trainers.training.checkpoints import Checkpoints, discard_checkpoints
from trainers.training.few_shot import train

STEPS_OF_A_PASS = 250  # steps between two reports of the loss
KMEANS_ROUNDS = 20


@dataclass(frozen=True)
class MetaTraining:
    """Length, speed and size of a meta-training; the defaults are those of 20,000 batches at full width."""

    steps: int = 20_000
    batch_size: int = 32  # episodes of a step
    lr: float = 3e-4  # AdamW's rate, which falls to 0 along a cosine after a short warm-up
    weight_decay: float = 0.01
    seed: int = 1
    views: int = 4  # views of each image: itself, and random crops
    min_area: float = 0.5  # the smallest crop, as a share of the image's area
    clusters: tuple[int, ...] = (60, 150)  # numbers of clusters of the class texts
    width: int = 256
    layers: int = 4
    heads: int = 4
    mlp_ratio: int = 4
    mix: EpisodeMix = field(default_factory=EpisodeMix)

    def shape(self, dim: int) -> MetaShape:
        """The meta-model of a backbone whose joint space has D = `dim` numbers."""
        return MetaShape(dim, self.width, self.layers, self.heads, self.mlp_ratio)

    @property
    def optim(self) -> OptimConfig:
        return OptimConfig(
            name="adamw",
            lr=self.lr,
            weight_decay=self.weight_decay,
            steps=self.steps,
            batch_size=self.batch_size,
            lr_scheduler="cosine_steps",
            warmup_share=0.02,
            clip_norm=1.0,
        )


@dataclass
class EpisodeSeeds:
    """Batches of seeds of episodes, which are functions of (seed, epoch, place), with labels that nothing reads."""

    batch_size: int
    seed: int
    epoch: int = 0
    skip: int = 0

    def __len__(self) -> int:
        return STEPS_OF_A_PASS

    def seek(self, epoch: int, batch: int) -> None:
        """Make the next pass begin at the given batch of the given epoch."""
        self.epoch, self.skip = epoch, batch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(derived_seed("episodes", self.seed, self.epoch))
        seeds = torch.randint(2**62, (len(self), self.batch_size), generator=generator)
        skip, self.skip, self.epoch = self.skip, 0, self.epoch + 1
        for row in seeds[skip:]:
            yield row, torch.zeros_like(row)


class MetaTrainee(AdaptedCLIP):
    """A meta-model beside zero-shot CLIP, as a method that learns from seeds of episodes.

    Args:
        pool: unit features on the backbone's device.
    """

    consumes = "features"

    def __init__(self, backbone: FrozenCLIP, pool: Pool, settings: MetaTraining):
        super().__init__(backbone, ClassSet(("image",)))
        self.meta = MetaModel(settings.shape(backbone.embed_dim)).to(backbone.device)
        self.pool, self.mix = pool, settings.mix

    def undecayed(self) -> set[str]:
        return {name for name, parameter in self.learnt_parameters().items() if parameter.ndim < 2}

    def logits(self, x: Tensor) -> Tensor:
        """Seeds (E,) -> logits (E, Q, C) of the queries of their episodes."""
        return self._answered(x)[0]

    def _answered(self, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (E, Q, C), -inf for padded classes, and the classes of the queries (E, Q)."""
        batch = draw_batch(self.pool, self.mix, seeds.tolist(), self.meta.shape.slots)
        cosines = batch.queries @ batch.context.texts.transpose(1, 2)
        logits = self.backbone.logit_scale.exp() * cosines + self.meta(batch.context, batch.queries)
        return logits.masked_fill(batch.context.slots[:, None] < 0, -torch.inf), batch.targets

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of the queries, which is averaged within episodes and then over them."""
        logits, targets = self._answered(x)
        is_query = targets >= 0
        losses = F.cross_entropy(logits.transpose(1, 2), targets.clamp(min=0), reduction="none")
        return (losses.where(is_query, 0).sum(dim=1) / is_query.sum(dim=1)).mean()


def usable_classes(datasets: Sequence[FewShotDataset], held_out: Sequence[FewShotDataset]) -> tuple[str, ...]:
    """Names of the classes of `datasets` that share their words with no class of `held_out`, each once.

    Raises:
        ValueError: if fewer than two are left.
    """
    names = tuple(dict.fromkeys(name for dataset in datasets for name in dataset.classnames))
    related = set(related_to(names, [name for dataset in held_out for name in dataset.classnames]))
    usable = tuple(name for name in names if name not in related)
    if len(usable) < 2:
        raise ValueError(
            f"{len(usable)} of {len(names)} classes share no word with a class that is held out; meta-training needs "
            "two or more, give other data sets"
        )
    return usable


@torch.no_grad()
def make_pool(
    datasets: Sequence[FewShotDataset], names: Sequence[str], encoder: ImageEncoder, settings: MetaTraining
) -> Pool:
    """The training images of these classes as features of several views, with classes and clusters of classes."""
    backbone, label_of = encoder.backbone, {name: label for label, name in enumerate(names)}
    device = backbone.device
    texts = F.normalize(class_weights(backbone, ClassSet(tuple(names))).float(), dim=-1)
    rows: list[Tensor] = []
    labellings: list[Labelling] = []
    for dataset in datasets:
        items = [item for item in dataset.split.train if dataset.classnames[item.label] in label_of]
        labels = torch.tensor([label_of[dataset.classnames[item.label]] for item in items], device=device)
        first = sum(map(len, rows))
        rows.append(_views(dataset, items, encoder, settings))
        labellings.append(Labelling(torch.arange(first, first + len(items), device=device), labels, texts))
    labels = torch.cat([labelling.labels for labelling in labellings])
    for count in settings.clusters:
        if 2 <= count < len(names):
            cluster = cluster_texts(texts, count, derived_seed("clusters", settings.seed, count))
            means = torch.zeros(count, texts.shape[1], device=device).index_add(0, cluster, texts)
            places = torch.arange(len(labels), device=device)
            labellings.append(Labelling(places, cluster[labels], F.normalize(means, dim=-1)))
    return Pool(F.normalize(torch.cat(rows).to(device), dim=-1), labellings)


def _views(dataset: FewShotDataset, items: Sequence[Item], encoder: ImageEncoder, settings: MetaTraining) -> Tensor:
    """Features (N, V, D) of the images as they are, and of random crops."""
    plain = encoder.plain_features(dataset, items)[:, None]
    if settings.views == 1:
        return plain
    crops = ViewConfig("pool", n_views=settings.views - 1, min_area=settings.min_area)
    return torch.cat([plain, encoder.view_features(dataset, items, crops, settings.seed, 0)], dim=1)


def cluster_texts(texts: Tensor, count: int, seed: int) -> Tensor:
    """Spherical k-means of unit features (C, D): the cluster of each (C,). Every cluster has one or more."""
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(seed))[:count].to(texts.device)
    centres = texts[order]
    for _ in range(KMEANS_ROUNDS):
        nearest = (texts @ centres.T).argmax(dim=1)
        sums = torch.zeros_like(centres).index_add(0, nearest, texts)
        centres = torch.where(sums.norm(dim=1, keepdim=True) > 0, F.normalize(sums, dim=-1), centres)
    return (texts @ centres.T).argmax(dim=1)


def train_meta_model(
    datasets: Sequence[FewShotDataset],
    held_out: Sequence[FewShotDataset],
    settings: MetaTraining,
    bench: Bench,
    out: Path,
    on_epoch: Callable[[int], None] | None = None,
) -> tuple[float, ...]:
    """Train a meta-model and write it; an interrupted training is resumed.

    Args:
        held_out: data sets that it is to be measured on; classes that share words with theirs are left out.
        out: the file to write; checkpoints lie beside it until it exists.
        on_epoch: called with the number of finished passes of 250 steps.

    Returns:
        The mean loss of each pass.

    Raises:
        ValueError: if fewer than two classes are left.
        DivergedError: if a loss is not finite.
    """
    backbone = bench.backbone
    names = usable_classes(datasets, held_out)
    never = tuple(dict.fromkeys(name for dataset in held_out for name in dataset.classnames))
    provenance = Provenance(backbone.name, backbone.weights_hash, names, never)
    pool = make_pool(datasets, names, bench.encoder, settings)
    identity: dict[str, Json] = {
        "settings": json.loads(json.dumps(asdict(settings))),
        "weights": backbone.weights_hash,
        "precision": bench.precision,
        "classes": list(names),
        "features": hashlib.sha256(pool.features.cpu().numpy().tobytes()).hexdigest(),
    }
    work = out.with_name(f".{out.name}.training")
    with seeded(derived_seed("sinc", settings.seed), backbone.device):
        trainee = MetaTrainee(backbone, pool, settings)
        checkpoints = Checkpoints(work, run_id(identity), bench.checkpoint)
        batches = EpisodeSeeds(settings.batch_size, settings.seed)
        log = train(trainee, batches, settings.optim, None, bench.precision, on_epoch, checkpoints)
    facts = {
        "images": str(pool.features.shape[0]),
        "datasets": ", ".join(dataset.name for dataset in datasets),
        "mean_loss": f"{log.losses[-1]:.5f}",
        "settings": json.dumps(identity["settings"]),
    }
    write_meta_model(out, trainee.meta, provenance, facts)
    discard_checkpoints(work)
    with contextlib.suppress(OSError):  # Something else lies in it.
        work.rmdir()
    return log.losses
