"""Ranking heads: max-margin losses on frozen features of the embedded pairs, both directions and one at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import torch

from adaptkit import create_method, create_objective
from adaptkit.contract.pair_objective import PairObjective
from adaptkit.objectives import HingeConfig, InfoNCEConfig
from benchmarks.seed_systems.findings import Finding, Value, difference, over
from benchmarks.seed_systems.pair_suite import guard_accuracy, part, train
from benchmarks.seed_systems.suite import backbone
from benchmarks.verdicts import beats, loses, sentence, verdict
from trainers.config.training import OptimConfig
from trainers.evaluation.retrieval import PairScores

DATA = "mini_pairs"
SEEDS = (1, 2, 3)
OPTIM = OptimConfig(
    name="adamw", lr=1e-3, weight_decay=1e-4, epochs=20, batch_size=512, lr_scheduler="cosine_steps", warmup_epochs=0
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
    frozen = backbone()
    torch.manual_seed(seed)
    method = create_method("ranking_heads", frozen, None, residual=residual)
    validation = part(DATA, "val").scores(method).rsum
    if objective != "none":
        config = HingeConfig(**options) if objective == "hinge" else InfoNCEConfig()  # type: ignore[arg-type]
        loss = create_objective(method, [(objective, config)])
        assert isinstance(loss, PairObjective)
        validation = train(method, loss, DATA, OPTIM, seed)
    return Outcome(validation, part(DATA, "test").scores(method), guard_accuracy(method))
