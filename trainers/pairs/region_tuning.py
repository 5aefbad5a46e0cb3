"""ViLLA's second stage: a method that changes image features learns from regions and what is said of them.

A method on features learns on features that were encoded once; one in the towers, such as clip_lora, sees the crops.
Both go on from where they were stopped.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit import AdaptedCLIP, FrozenCLIP, TrainingFacts, create_method
from adaptkit.artefacts.atomic_file import Json
from adaptkit.contract.batches import PairBatch
from adaptkit.contract.pair_objective import TrainedOnPairs, learning_sides
from adaptkit.heads.villa import RegionAttributeMapper
from adaptkit.heads.villa.region_features import prepared_whole
from adaptkit.heads.villa.tuning import RegionTextObjective, TunedOnRegionFeatures
from adaptkit.options import option, options
from trainers.bounds import MOST_SEED
from trainers.compute.seeds import derived_seed, seeded
from trainers.config.settings import CheckpointConfig
from trainers.config.training import OptimConfig
from trainers.evaluation.regions import r_precision
from trainers.fit.regions import EVERY_MINUTE
from trainers.pairs.cached_gradients import Pieces
from trainers.pairs.region_data import RegionData
from trainers.pairs.region_mapping import INDEX_FOLDER
from trainers.pairs.region_pairs import (
    TEXTS_AT_ONCE,
    RegionPairs,
    crop_of,
    pair_features,
    region_pairs,
    text_embeddings,
)
from trainers.pairs.training import PairTraining, train_on_pairs
from trainers.retrieval.region_index import RegionIndex, index_of
from trainers.runs.records import run_id
from trainers.training.checkpoints import Checkpoints, discard_checkpoints
from trainers.training.few_shot import train


@options
class RegionTuning:
    """How the second stage trains: AdamW, the rate falling along a cosine by steps."""

    epochs: int = option(10, "Passes over the region-text pairs.", least=1)
    lr: float = option(1e-3, "AdamW's learning rate in the first step.", above=0)
    weight_decay: float = option(0.01, "AdamW's.", least=0)
    batch_size: int = option(256, "Region-text pairs of a step.", least=2)
    piece: int = option(64, "Crops that are encoded with gradients at a time.", least=1)
    seed: int = option(1, "Of the order of pairs and of drawn sentences.", least=0, most=MOST_SEED)

    @property
    def optim(self) -> OptimConfig:
        """The same for the training loops."""
        return OptimConfig(
            name="adamw",
            lr=self.lr,
            weight_decay=self.weight_decay,
            epochs=self.epochs,
            batch_size=self.batch_size,
            drop_last=False,
            lr_scheduler="cosine_steps",
            warmup_epochs=0,
            clip_norm=1.0,
        )


@dataclass(frozen=True)
class CropBatches:
    """Region-text pairs as crops with embeddings of their texts; the last picture that was read is kept."""

    backbone: FrozenCLIP
    data: RegionData
    pairs: RegionPairs
    texts: Tensor
    settings: RegionTuning

    def __len__(self) -> int:
        return -(-len(self.pairs) // self.settings.batch_size)

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[PairBatch]:
        """The batches of an epoch, without the first `skip`."""
        groups = self.pairs.groups
        for places in _drawn(len(self.pairs), self.settings, epoch)[skip:]:
            yield PairBatch(self.crops(places.tolist()), self.texts[places], groups[places])

    def crops(self, places: Sequence[int]) -> Tensor:
        """Crops (B, 3, H, W) of some pairs; an image is read once for all of its regions."""
        cut: dict[int, Tensor] = {}
        for image in dict.fromkeys(self.pairs.image[place] for place in places):
            picture = self.data.source.load(image)
            for place in places:
                if self.pairs.image[place] == image:
                    cut[place] = prepared_whole(self.backbone, crop_of(picture, self.pairs.box[place]))
        return torch.stack([cut[place] for place in places])


class FeatureBatches:
    """Region-text pairs as features, embeddings of their texts, and groups.

    Args:
        features: (P, D) of the regions.
        texts: (P, D).
    """

    def __init__(self, features: Tensor, texts: Tensor, groups: Tensor, settings: RegionTuning):
        self.features, self.texts, self.groups, self.settings = features, texts, groups, settings
        self.at = self.skipped = 0

    def __len__(self) -> int:
        return -(-len(self.features) // self.settings.batch_size)

    def seek(self, epoch: int, batch: int) -> None:
        """Let the next pass begin at a batch of an epoch."""
        self.at, self.skipped = epoch, batch

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        batches = _drawn(len(self.features), self.settings, self.at)[self.skipped :]
        self.at, self.skipped = self.at + 1, 0
        for places in batches:
            yield self.features[places], self.texts[places], self.groups[places]


def _drawn(count: int, settings: RegionTuning, epoch: int) -> Sequence[Tensor]:
    generator = torch.Generator().manual_seed(derived_seed("region pairs", settings.seed, epoch))
    return torch.randperm(count, generator=generator).split(settings.batch_size)


@dataclass(frozen=True)
class RegionScores:
    """R-precision in percent between regions and texts; every region of an equal text is right."""

    to_texts: float
    to_regions: float


def scores_of(features: Tensor, texts: Tensor, groups: Tensor) -> RegionScores:
    """Scores of region features (P, D) and texts (P, D), of which each stands once.

    Args:
        groups: (P,), equal where the texts are.
    """
    _, group = groups.unique(return_inverse=True)
    first = torch.stack([(group == one).nonzero()[0, 0] for one in range(int(group.max()) + 1)])
    cosines = F.normalize(features, dim=-1) @ F.normalize(texts[first], dim=-1).T
    right = group[:, None] == torch.arange(len(first))
    return RegionScores(r_precision(cosines, right), r_precision(cosines.T, right.T))


def check_learns(method: AdaptedCLIP) -> None:
    """Refuse a method that regions teach nothing.

    Raises:
        ValueError: if it changes no feature of an image.
    """
    if not learning_sides(method)[0]:
        raise ValueError(
            f"{type(method).__name__} changes the features of no image, so regions teach it nothing; take one that "
            "does, such as clip_adapter or clip_lora"
        )


@dataclass(frozen=True)
class TunedRegions:
    """What a second stage led to."""

    method: AdaptedCLIP
    losses: tuple[float, ...]
    pairs: RegionPairs  # of the training images
    before: RegionScores | None  # of held-out images; None where none of them lists an attribute
    after: RegionScores | None

    @property
    def lines(self) -> list[str]:
        """The result for people."""
        said = [f"{len(self.pairs)} region-text pairs, loss {self.losses[-1]:.3f}"]
        if self.pairs.unnamed:
            said.append(f"{self.pairs.unnamed} attributes stand in no sentence of their text, and for themselves")
        for when, scores in (("before", self.before), ("after", self.after)):
            if scores is not None:
                said.append(
                    f"{when}: R-precision on other images {scores.to_texts:.1f} % from regions to texts, "
                    f"{scores.to_regions:.1f} % from texts to regions"
                )
        return said

    def as_json(self) -> dict[str, Json]:
        """The result for programs."""
        return {
            "pairs": len(self.pairs),
            "unnamed": self.pairs.unnamed,
            "losses": list(self.losses),
            "before": None if self.before is None else asdict(self.before),
            "after": None if self.after is None else asdict(self.after),
        }


def tune_on_regions(
    method: AdaptedCLIP,
    mapper: RegionAttributeMapper,
    index: RegionIndex,
    data: RegionData,
    settings: RegionTuning,
    work: Path | None = None,
    checkpoint: CheckpointConfig = EVERY_MINUTE,
) -> TunedRegions:
    """Train a method on the region-text pairs of the training images, and test it on those of the others.

    Args:
        work: a folder for checkpoints; the same call goes on from where an earlier one was stopped.

    Raises:
        ValueError: if the method changes no feature of an image, or no training image lists an attribute.
        ArithmeticError: if the loss is not finite.
    """
    check_learns(method)
    pairs = region_pairs(mapper, index, data, data.part("train"), settings.seed)
    texts = text_embeddings(mapper.backbone, pairs).cpu()
    held_out = _held_out(mapper, index, data, settings)
    before = None if held_out is None else _judged(method, mapper, index, data, held_out)
    facts: dict[str, Json] = {
        "method": repr(method.spec),
        "settings": json.loads(json.dumps(asdict(settings))),
        "regions": index.digest,
        "pairs": hashlib.sha256(repr((pairs.image, pairs.box, pairs.sentences)).encode()).hexdigest(),
    }
    kept = None if work is None else Checkpoints(work, run_id(facts), checkpoint)
    objective = RegionTextObjective(method, mapper.config.temperature)
    losses: tuple[float, ...]
    with seeded(settings.seed, method.device):
        if method.consumes == "features":
            features = pair_features(mapper, index, data, pairs)
            trainee = TunedOnRegionFeatures(method, objective)
            batches = FeatureBatches(features, texts, pairs.groups, settings)
            losses = train(trainee, batches, settings.optim, checkpoints=kept).losses
        else:
            pieces = Pieces(settings.piece, derived_seed("pieces", settings.seed))
            crops = CropBatches(mapper.backbone, data, pairs, texts, settings)
            losses = train_on_pairs(
                TrainedOnPairs(method, objective), crops, PairTraining(settings.optim, pieces), kept
            )
    after = None if held_out is None else _judged(method, mapper, index, data, held_out)
    return TunedRegions(method.eval(), losses, pairs, before, after)


def _held_out(
    mapper: RegionAttributeMapper, index: RegionIndex, data: RegionData, settings: RegionTuning
) -> RegionPairs | None:
    images = data.part("val") + data.part("test")
    if not images or not data.labels(mapper.attributes)[images].any():
        return None
    return region_pairs(mapper, index, data, images, settings.seed)


@torch.no_grad()
def _judged(
    method: AdaptedCLIP, mapper: RegionAttributeMapper, index: RegionIndex, data: RegionData, pairs: RegionPairs
) -> RegionScores:
    """Scores of held-out pairs with the method as it is."""
    was_training = method.training
    method.eval()
    texts = text_embeddings(mapper.backbone, pairs).cpu()
    if method.consumes == "features":
        rows = method.image_features_of(pair_features(mapper, index, data, pairs).to(method.device)).cpu()
    else:
        crops = CropBatches(mapper.backbone, data, pairs, texts, RegionTuning())
        places = torch.arange(len(pairs)).split(TEXTS_AT_ONCE)
        rows = torch.cat([method.encode_image(crops.crops(own.tolist()).to(method.device)).cpu() for own in places])
    method.train(was_training)
    return scores_of(rows.float(), texts, pairs.groups)


def tune_and_save(
    mapper: RegionAttributeMapper,
    data: RegionData,
    name: str,
    settings: RegionTuning,
    out: Path,
    folder: Path | None = None,
) -> TunedRegions:
    """Train a method by its name, and save it as an adapter.

    Args:
        folder: of an index of regions, which is made if it is not there; None for a folder in `out`.

    Raises:
        ValueError: if `out` holds something else, or nothing can be learnt.
        ArithmeticError: if the loss is not finite.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {str(out)!r} is a file; give a folder")
    with seeded(settings.seed, mapper.device):
        method = create_method(name, mapper.backbone, None)
    check_learns(method)
    index = index_of(data.source, mapper.backbone, folder or out / INDEX_FOLDER, mapper.config.regions)
    result = tune_on_regions(method, mapper, index, data, settings, out)
    facts = TrainingFacts(
        data.name, 0, seed=settings.seed, epochs=settings.epochs, notes=tuple(result.lines), pairs=len(result.pairs)
    )
    method.save_pretrained(out, facts)
    discard_checkpoints(out)
    return result
