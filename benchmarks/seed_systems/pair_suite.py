"""The embedded pairs as tensors, and trainings on them at the epoch that validation chooses."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor

from adaptkit import AdaptedCLIP, create_method
from adaptkit.classes.templates import templates_for
from adaptkit.contract.pair_objective import PairObjective, TrainedOnPairs, image_features, text_features
from adaptkit.layers.image_texts import fit_text
from benchmarks.seed_systems.suite import backbone
from datasets_fewshot import FewShotDataset, Item, load_dataset
from datasets_fewshot.pairs.load import load_pairs
from datasets_fewshot.pairs.pair_set import PairSet
from trainers.config.training import OptimConfig, ViewConfig
from trainers.evaluation.retrieval import PairScores, pair_scores
from trainers.feeding.kept_pixels import KeptPixels
from trainers.pairs.batches import Captions, PairBatches, as_dataset, captions_of
from trainers.pairs.cached_gradients import Pieces
from trainers.pairs.encoded_once import image_rows, text_encoder
from trainers.pairs.judging import Guard, Looking, encoded_images, encoded_texts
from trainers.pairs.training import PairTraining, train_on_pairs
from trainers.pairs.written_texts import WrittenTexts

GUARD = "icons"
PIECE = 128


@dataclass(frozen=True)
class Part:
    """One part of the pairs, with features of the frozen model."""

    dataset: FewShotDataset
    items: Sequence[Item]
    captions: Captions
    images: Tensor  # (N, D)
    texts: Tensor  # (M, D)

    def scores(self, method: AdaptedCLIP) -> PairScores:
        """Recall both ways of a method."""
        return pair_scores(self.images_of(method), self.texts_of(method), self.captions.image)

    @torch.no_grad()
    def images_of(self, method: AdaptedCLIP) -> Tensor:
        """Features (N, D) of the images with what was learnt."""
        if method.consumes == "features":
            return image_features(method.eval(), self.images)
        return encoded_images(method, self.dataset, self.items, looking())

    @torch.no_grad()
    def texts_of(self, method: AdaptedCLIP) -> Tensor:
        """Features (M, D) of the captions with what was learnt."""
        if "text_features_of" in method.provides:
            return text_features(method.eval(), self.texts)
        return encoded_texts(method, self.captions.texts, "fp32")


@cache
def looking() -> Looking:
    """How images are read here."""
    return Looking("fp32", 0, KeptPixels())


@cache
def pairs(data: str) -> PairSet:
    """The pairs of a name, read once."""
    return load_pairs(data)


@cache
def part(data: str, name: str) -> Part:
    """A part of the pairs: "train", "val" or "test"."""
    listed, dataset = getattr(pairs(data), name), as_dataset(pairs(data))
    captions = captions_of(listed, backbone().tokenizer)
    zero_shot, items = create_method("zero_shot", backbone(), None), getattr(dataset.split, name)
    images = encoded_images(zero_shot, dataset, items, looking())
    return Part(dataset, items, captions, images, encoded_texts(zero_shot, captions.texts, "fp32"))


@cache
def guarded() -> tuple[Guard, Tensor]:
    """Icons, of whose classes the pairs say nothing, with the frozen features of its test images."""
    guard = Guard(load_dataset(GUARD), templates_for(GUARD))
    zero_shot = create_method("zero_shot", backbone(), None)
    return guard, encoded_images(zero_shot, guard.dataset, guard.items("test"), looking())


@torch.no_grad()
def guard_accuracy(method: AdaptedCLIP) -> float:
    """Zero-shot accuracy in percent on the test images of icons."""
    guard, frozen = guarded()
    if method.consumes == "features":
        images = image_features(method.eval(), frozen)
    else:
        images = encoded_images(method, guard.dataset, guard.items("test"), looking())
    return guard.accuracy(method, "test", images, looking())


def train(method: AdaptedCLIP, objective: PairObjective, data: str, optim: OptimConfig, seed: int) -> float:
    """Train a method, leave it at the epoch with the best rsum on validation pairs, and return that rsum."""
    best: list[tuple[float, dict[str, Tensor]]] = []

    def remember(epoch: int, mean_loss: float) -> None:
        rsum = part(data, "val").scores(method).rsum
        if not best or rsum > best[0][0]:
            best[:] = [(rsum, method.learnt_state())]

    batches = batches_of(method, objective, data, optim.batch_size, seed)
    piece = optim.batch_size if method.consumes == "features" else PIECE
    train_on_pairs(
        TrainedOnPairs(method, objective), batches, PairTraining(optim, Pieces(piece, seed)), on_epoch=remember
    )
    method.load_learnt_state(best[0][1])
    return best[0][0]


def batches_of(method: AdaptedCLIP, objective: PairObjective, data: str, batch_size: int, seed: int) -> PairBatches:
    """The training pairs with all that can be encoded once."""
    listed, train_part = pairs(data).train, part(data, "train")
    names = {name: place for place, name in enumerate(dict.fromkeys(item.group for item in listed))}
    images = image_rows(method, objective, train_part.dataset, looking())
    encode = text_encoder(method, objective, "fp32")
    texts = written = None
    if objective.writes_texts:
        fit = partial(fit_text, tokenizer=backbone().tokenizer)
        written = WrittenTexts(objective, train_part.captions.written, fit, seed, encode)
    elif encode is not None:
        texts = encode(train_part.captions.texts)
    return PairBatches(
        train_part.dataset,
        train_part.captions,
        torch.tensor([names[item.group] for item in listed]),
        backbone().preprocess_cfg,
        ViewConfig("none"),
        batch_size,
        seed,
        kept=looking().kept,
        image_features=images,
        text_features=texts,
        written=written,
    )
