"""CTP + TFT, in the spirit of arXiv:2303.17169, beside CoCoOp: known are the first half of a data set's classes."""

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import product
from typing import Any

import torch

from adaptkit import AdaptedCLIP, ClassSet, create_method
from benchmarks.seed_systems import suite as suites
from benchmarks.seed_systems.findings import Finding, Value, difference, over
from benchmarks.verdicts import beats, loses, sentence, verdict
from datasets_fewshot import load_dataset
from trainers.config.training import OptimConfig, ViewConfig
from trainers.feeding.batches import FeatureBatches
from trainers.training.few_shot import train

DATA = ("emoji_subgroups", "openclipart")
SEEDS = (1, 2, 3)
SHOTS, BATCH, EPOCHS = 8, 8, 5
RATES = (0.002, 0.02, 0.2)
MOST_IMAGES = 200  # of a validation or test part, evenly spread
IMAGES_PER_PASS = 50
BASELINE, OURS, PROMPTS, MEAN, FEATURE = "CoCoOp", "CTP + TFT", "CTP alone", "one query for all classes", "mode feature"
ARMS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    BASELINE: ("cocoop", {}),
    OURS: ("ctp_tft", {}),
    PROMPTS: ("ctp_tft", {"tft": "none"}),
    MEAN: ("ctp_tft", {"tft": "none", "query": "mean"}),
    FEATURE: ("ctp_tft", {"mode": "feature"}),
}
SETTING = (
    f"{', '.join(DATA)}, {SHOTS} shots, {len(SEEDS)} seeds, {EPOCHS} epochs of SGD in batches of {BATCH}, every arm at "
    "the rate that is best on validation images of known classes by the first seed; known are the first half of the "
    f"classes, unknown the second, at most {MOST_IMAGES} test images; the method is a reading of the abstract"
)
RUNS = tuple(product(DATA, SEEDS))
Run = tuple[str, int]
Accuracies = Mapping[str, Sequence[float]]  # of known and of unknown classes, and their harmonic mean, run by run


def measure() -> list[Finding]:
    """Measure the claims."""
    arms = {arm: _accuracies(arm) for arm in ARMS}
    return [_beats_cocoop(arms), _classes_matter(arms), _both_help(arms), _feature_mode(arms)]


def _beats_cocoop(arms: Mapping[str, Accuracies]) -> Finding:
    unknown, both = _gain("unknown", arms, OURS, BASELINE), _gain("both", arms, OURS, BASELINE)
    return Finding(
        "Prompts with the image content of their class, and image features that attend to the classes, are better than "
        "CoCoOp on unknown classes (4.03 points) and in the harmonic mean (3.19 points)",
        "abstract",
        SETTING,
        (*_values(BASELINE, arms), *_values(OURS, arms), unknown, both),
        verdict(beats(unknown), beats(both)),
        f"{sentence(unknown, 'unknown classes')} {sentence(both, 'harmonic mean')}",
    )


def _classes_matter(arms: Mapping[str, Accuracies]) -> Finding:
    known, unknown = (_gain(half, arms, PROMPTS, MEAN) for half in ("known", "unknown"))
    return Finding(
        "One image-conditioned vector for all classes weakens discrimination; one for each class does not",
        "abstract",
        f"{SETTING}; without TFT, and with the same attention asked by the mean of the classes",
        (*_values(PROMPTS, arms), *_values(MEAN, arms), known, unknown),
        verdict(beats(known), beats(unknown)),
        f"{sentence(known, 'known classes')} {sentence(unknown, 'unknown classes')}",
    )


def _both_help(arms: Mapping[str, Accuracies]) -> Finding:
    known, both = (_gain(half, arms, OURS, PROMPTS) for half in ("known", "both"))
    return Finding(
        "The two directions help each other",
        "abstract",
        SETTING,
        (*_values(OURS, arms), *_values(PROMPTS, arms), known, both),
        verdict(beats(both)),
        f"{sentence(known, 'with TFT against without, known classes')} {sentence(both, 'harmonic mean')}",
    )


def _feature_mode(arms: Mapping[str, Accuracies]) -> Finding:
    both = _gain("both", arms, FEATURE, OURS)
    return Finding(
        "Shifted text features, one encoding of the classes, do as well as prompts of every image or better",
        "ours",
        SETTING,
        (*_values(FEATURE, arms), both),
        verdict(not loses(both), beats(both)),  # in part: nothing is told apart from noise
        sentence(both, "harmonic mean"),
    )


def _values(arm: str, arms: Mapping[str, Accuracies]) -> tuple[Value, Value]:
    return over(f"known classes, {arm}", arms[arm]["known"]), over(f"unknown classes, {arm}", arms[arm]["unknown"])


def _gain(half: str, arms: Mapping[str, Accuracies], arm: str, other: str) -> Value:
    what = {"both": "harmonic mean", "known": "known classes", "unknown": "unknown classes"}[half]
    return difference(f"{what}, {arm} minus {other}", arms[arm][half], arms[other][half])


# Runs


@cache
def _part(data: str, which: str) -> suites.Part:
    """Images of a part with the tower's rows (N, 1 + P, D_v): all of "train", some of "val" and "test"."""
    dataset = load_dataset(data)
    items = {"train": dataset.split.train, "val": dataset.split.val, "test": dataset.split.test}[which]
    count = len(items) if which == "train" else min(MOST_IMAGES, len(items))
    chosen = [items[place] for place in torch.linspace(0, len(items) - 1, count).long().tolist()]
    with torch.no_grad():
        images = suites.images_of(dataset, chosen).split(IMAGES_PER_PASS)
        rows = torch.cat([suites.backbone().encode_tokens(some) for some in images])
    return suites.Part(dataset, chosen, rows, torch.tensor([item.label for item in chosen]))


def _halves(data: str) -> tuple[ClassSet, ClassSet]:
    names = _part(data, "train").dataset.classnames
    middle = -(-len(names) // 2)  # as the papers halve an odd number
    return ClassSet(names[:middle]), ClassSet(names[middle:])


def _consumed(method: AdaptedCLIP, rows: torch.Tensor) -> torch.Tensor:
    return rows if method.consumes == "tokens" else suites.backbone().project_tokens(rows[:, 0])


def _learnt(arm: str, run: Run, rate: float) -> AdaptedCLIP:
    name, options = ARMS[arm]
    known, _ = _halves(run[0])
    torch.manual_seed(run[1])
    method = create_method(name, suites.backbone(), known, **options)
    part = _part(run[0], "train")
    places = part.shots(SHOTS, run[1])
    places = places[part.labels[places] < len(known)]
    x, labels = _consumed(method, part.features[places]), part.labels[places]
    batches = FeatureBatches(x[:, None], labels, ViewConfig("none"), BATCH, True, run[1])
    train(method, batches, OptimConfig(lr=rate, epochs=EPOCHS, warmup_epochs=0))
    return method.eval()


@torch.no_grad()
def _accuracy(method: AdaptedCLIP, data: str, which: str, half: int) -> float:
    """Accuracy in percent on one half of the classes, among their names."""
    part, classes = _part(data, which), _halves(data)
    start = len(classes[0]) * half
    here = (part.labels >= start) & (part.labels < start + len(classes[half]))
    if method.classes != classes[half]:
        method.set_classes(classes[half])
    passes = _consumed(method, part.features[here]).split(IMAGES_PER_PASS)
    with method.encode_classes_once():
        return suites.accuracy(torch.cat([method.logits(some) for some in passes]), part.labels[here] - start)


@cache
def _rate(arm: str, data: str) -> float:
    """The rate that is best on validation images of known classes, by the first seed."""
    return max(RATES, key=lambda rate: _accuracy(_learnt(arm, (data, SEEDS[0]), rate), data, "val", 0))


def _accuracies(arm: str) -> Accuracies:
    known, unknown = [], []
    for run in RUNS:
        method = _learnt(arm, run, _rate(arm, run[0]))
        known.append(_accuracy(method, run[0], "test", 0))
        unknown.append(_accuracy(method, run[0], "test", 1))
    both = [2 * one * other / max(one + other, 1e-9) for one, other in zip(known, unknown, strict=True)]
    return {"known": known, "unknown": unknown, "both": both}
