"""Ranking heads: max-margin losses on frozen features of the embedded pairs, both directions and one at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from adaptkit import create_method, create_objective
from adaptkit.classes.templates import templates_for
from adaptkit.contract.adapted_towers import AdaptedTowers
from adaptkit.contract.pair_objective import PairObjective, TrainedOnPairs
from adaptkit.objectives import HingeConfig, InfoNCEConfig
from benchmarks.seed_systems.findings import Finding, Value, difference, over
from benchmarks.seed_systems.suite import backbone
from benchmarks.verdicts import beats, loses, sentence, verdict
from datasets_fewshot import load_dataset
from datasets_fewshot.pairs.load import load_pairs
from trainers.config.training import OptimConfig, ViewConfig
from trainers.evaluation.retrieval import PairScores, pair_scores
from trainers.feeding.kept_pixels import KeptPixels
from trainers.pairs.batches import Captions, PairBatches, as_dataset, captions_of
from trainers.pairs.cached_gradients import Pieces
from trainers.pairs.judging import Guard, Looking, encoded_images, encoded_texts
from trainers.pairs.training import PairTraining, train_on_pairs

SEEDS = (1, 2, 3)
BATCH = 512
OPTIM = OptimConfig(
    name="adamw", lr=1e-3, weight_decay=1e-4, epochs=20, batch_size=BATCH, lr_scheduler="cosine_steps", warmup_epochs=0
)
MARGINS = (0.05, 0.1, 0.2)
ARMS: Mapping[str, Mapping[str, object]] = {
    "sum": {},
    "max": {"mining": "max"},
    "semi_hard": {"mining": "semi_hard"},
    "image_to_text": {"text_to_image": 0.0},
    "text_to_image": {"image_to_text": 0.0},
    "queue": {"queue": 1024},
}
SETTING = (
    "mini_pairs, features of the frozen embedded model; AdamW at 1e-3, batches of 512, 20 epochs, the epoch and the "
    "margin of 0.05, 0.1, 0.2 with the best rsum on validation pairs; 3 seeds"
)


@dataclass(frozen=True)
class Part:
    """Frozen features of one part of the pairs."""

    images: Tensor  # (N, D)
    texts: Tensor  # (M, D)
    captions: Captions

    def scores(self, method: AdaptedTowers) -> PairScores:
        """Recall both ways behind the heads of a method."""
        with torch.no_grad():
            method.eval()
            images, texts = method.image_features_of(self.images), method.text_features_of(self.texts)
            return pair_scores(images, texts, self.captions.image)


@dataclass(frozen=True)
class Outcome:
    """One training, at the epoch that validation chose."""

    validation: float  # rsum
    test: PairScores
    guard: float  # zero-shot accuracy on icons in percent


def measure() -> list[Finding]:
    """Measure the claims."""
    before = trained("none", 0)
    found = {arm: [chosen(arm, seed) for seed in SEEDS] for arm in ARMS}
    found["info_nce"] = [trained("info_nce", seed) for seed in SEEDS]
    found["no residual"] = [chosen("sum", seed, residual=False) for seed in SEEDS]
    return [
        _ranking(before, found),
        _directions(found),
        _mining(found),
        _start(before, found),
        _forgotten(before, found),
    ]


def _ranking(before: Outcome, found: Mapping[str, Sequence[Outcome]]) -> Finding:
    start = over("rsum of zero-shot", [before.test.rsum], "points")
    gains = {arm: _gain(arm, found[arm], [before] * len(SEEDS)) for arm in ("sum", "max", "semi_hard", "info_nce")}
    return Finding(
        "a global ranking objective on frozen features serves retrieval both ways",
        "abstract",
        SETTING,
        (start, *gains.values()),
        verdict(beats(gains["sum"]), beats(gains["max"])),
        sentence(gains["sum"], "the sum over negatives against zero-shot, in rsum"),
    )


def _directions(found: Mapping[str, Sequence[Outcome]]) -> Finding:
    image_to_text = difference(
        "recall@1 of texts by image, trained for that alone minus trained for the other alone",
        [outcome.test.image_to_text.recall[1] for outcome in found["image_to_text"]],
        [outcome.test.image_to_text.recall[1] for outcome in found["text_to_image"]],
    )
    text_to_image = difference(
        "recall@1 of images by text, trained for that alone minus trained for the other alone",
        [outcome.test.text_to_image.recall[1] for outcome in found["text_to_image"]],
        [outcome.test.text_to_image.recall[1] for outcome in found["image_to_text"]],
    )
    return Finding(
        "how negatives are chosen can specialise the system for one direction",
        "abstract",
        SETTING,
        (image_to_text, text_to_image),
        verdict(beats(image_to_text), beats(text_to_image)),
        sentence(image_to_text, "texts by image") + " " + sentence(text_to_image, "images by text"),
    )


def _mining(found: Mapping[str, Sequence[Outcome]]) -> Finding:
    hardest = _gain("hardest negatives", found["max"], found["sum"])
    queue = _gain("a queue of 1024 earlier pairs", found["queue"], found["sum"])
    entropy = _gain("InfoNCE at CLIP's scale", found["info_nce"], found["sum"])
    return Finding(
        "hard negatives, or more of them, help over the sum in a batch",
        "ours",
        SETTING,
        (hardest, queue, entropy),
        verdict(beats(hardest), beats(queue)),
        sentence(hardest, "the hardest negative") + " " + sentence(queue, "the queue"),
    )


def _start(before: Outcome, found: Mapping[str, Sequence[Outcome]]) -> Finding:
    gain = _gain("heads that start from zero-shot, against random ones", found["sum"], found["no residual"])
    start = _gain("random heads", found["no residual"], [before] * len(SEEDS))
    return Finding(
        "heads that start as zero-shot CLIP are better than heads that start from random numbers",
        "ours",
        SETTING,
        (gain, start),
        verdict(beats(gain)),
        sentence(gain, "the difference in rsum"),
    )


def _forgotten(before: Outcome, found: Mapping[str, Sequence[Outcome]]) -> Finding:
    change = difference(
        "zero-shot accuracy on icons, sum minus zero-shot",
        [outcome.guard for outcome in found["sum"]],
        [before.guard] * len(SEEDS),
    )
    entropy = difference(
        "the same of InfoNCE", [outcome.guard for outcome in found["info_nce"]], [before.guard] * len(SEEDS)
    )
    return Finding(
        "accuracy on classes that the pairs say nothing of is kept",
        "ours",
        SETTING + "; before: " + f"{before.guard:.1f} % on icons",
        (change, entropy),
        verdict(not loses(change)),
        sentence(change, "the change"),
    )


def _gain(what: str, first: Sequence[Outcome], second: Sequence[Outcome]) -> Value:
    return difference(
        f"{what}, change of rsum", [one.test.rsum for one in first], [other.test.rsum for other in second]
    )


def chosen(arm: str, seed: int, residual: bool = True) -> Outcome:
    """The outcome at the margin that is best on validation pairs."""
    outcomes = (trained("hinge", seed, residual, margin=margin, **ARMS[arm]) for margin in MARGINS)
    return max(outcomes, key=lambda outcome: outcome.validation)


@cache
def trained(objective: str, seed: int, residual: bool = True, **options: object) -> Outcome:
    """Train heads on the pairs; "none" trains nothing."""
    torch.manual_seed(seed)
    method = create_method("ranking_heads", backbone(), None, residual=residual)
    if objective == "none":
        return _judged(method, part("val").scores(method).rsum)
    config = HingeConfig(**options) if objective == "hinge" else InfoNCEConfig()  # type: ignore[arg-type]
    loss = create_objective(method, [(objective, config)])
    assert isinstance(loss, PairObjective)
    best: list[tuple[float, dict[str, Tensor]]] = []

    def remember(epoch: int, mean_loss: float) -> None:
        rsum = part("val").scores(method).rsum
        if not best or rsum > best[0][0]:
            best[:] = [(rsum, method.learnt_state())]

    training = PairTraining(OPTIM, Pieces(BATCH, seed))
    train_on_pairs(TrainedOnPairs(method, loss), batches(seed), training, on_epoch=remember)
    method.load_learnt_state(best[0][1])
    return _judged(method, best[0][0])


def _judged(method: AdaptedTowers, validation: float) -> Outcome:
    guard, looking, images = guarded()
    with torch.no_grad():
        accuracy = guard.accuracy(method, "test", method.eval().image_features_of(images), looking)
    return Outcome(validation, part("test").scores(method), accuracy)


@cache
def looking() -> Looking:
    """How images are read here."""
    return Looking("fp32", 0, KeptPixels())


@cache
def part(name: str) -> Part:
    """Frozen features of a part of the pairs."""
    pairs = load_pairs("mini_pairs")
    listed, dataset = getattr(pairs, name), as_dataset(pairs)
    captions = captions_of(listed, backbone().tokenizer)
    zero_shot = create_method("zero_shot", backbone(), None)
    images = encoded_images(zero_shot, dataset, getattr(dataset.split, name), looking())
    return Part(images, encoded_texts(zero_shot, captions.texts, "fp32"), captions)


@cache
def guarded() -> tuple[Guard, Looking, Tensor]:
    """Icons, whose classes the pairs do not name, with the frozen features of its test images."""
    guard = Guard(load_dataset("icons"), templates_for("icons"))
    zero_shot = create_method("zero_shot", backbone(), None)
    return guard, looking(), encoded_images(zero_shot, guard.dataset, guard.items("test"), looking())


def batches(seed: int) -> PairBatches:
    """The training pairs as frozen features."""
    pairs, train = load_pairs("mini_pairs"), part("train")
    names = {name: place for place, name in enumerate(dict.fromkeys(item.group for item in pairs.train))}
    groups = torch.tensor([names[item.group] for item in pairs.train])
    return PairBatches(
        as_dataset(pairs),
        train.captions,
        groups,
        backbone().preprocess_cfg,
        ViewConfig("none"),
        BATCH,
        seed,
        image_features=train.images,
        text_features=train.texts,
    )
