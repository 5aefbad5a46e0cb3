"""The UniQA adapter on ladders of blur and noise, made from embedded images whose content is not for training."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from adaptkit import create_head
from adaptkit.heads import UniQAAdapter
from adaptkit.heads.graded_prompts import ENSEMBLE, QUALITY, Groups
from benchmarks.seed_systems.findings import Finding, Value, Verdict, difference, over
from benchmarks.seed_systems.suite import backbone
from datasets_fewshot import load_dataset
from trainers.evaluation.agreement import agreement
from trainers.fit.grades import GradeTraining, answer_features, predicted_grades, train_grades, training_features

DATASETS = ("emoji_objects", "openclipart", "icons")
CONTENTS, TESTED = 56, 24  # images of a ladder for training, and others for testing
BLUR, NOISE = (0.0, 0.7, 1.4, 2.8), (0, 16, 32, 64)  # radius in pixels, and deviation in levels of grey
LABELS, SEEDS = (50, 100, 200), (1, 2)
EPOCHS, RATE, BATCH, CROPS = 20, 4e-3, 16, 2
STRENGTHS = [10.0**power for power in range(-3, 4)]  # of the ridge regression, chosen on validation images
SETTING = (
    f"ladders of {len(BLUR)} radii of blur and {len(NOISE)} of noise from {CONTENTS} images for training and {TESTED} "
    f"others for testing of {', '.join(DATASETS)}, {len(SEEDS)} seeds; a fifth of the labels chooses the epoch"
)


@dataclass(frozen=True)
class Ladder:
    """Crops of degraded images as features (N, V, D), with grades from 0, the worst, to 1 (N,)."""

    train: Tensor
    grades: Tensor
    test: Tensor
    test_grades: Tensor


def degraded(image: Image.Image, seed: int) -> list[tuple[Image.Image, float]]:
    """An image blurred and made noisy by degrees, with its grades."""
    made = [
        (image.filter(ImageFilter.GaussianBlur(radius)), 1 - step / (len(BLUR) - 1)) for step, radius in enumerate(BLUR)
    ]
    noise = np.random.default_rng(seed).normal(size=(image.height, image.width, 3))
    for step, deviation in enumerate(NOISE[1:], start=1):
        pixels = np.clip(np.asarray(image) + deviation * noise, 0, 255).astype(np.uint8)
        made.append((Image.fromarray(pixels), 1 - step / (len(NOISE) - 1)))
    return made


def head_of(groups: Groups, **options: object) -> UniQAAdapter:
    """A head on the embedded model."""
    head = create_head("uniqa_adapter", backbone(), prompt_groups=groups, crops=4, **options)
    assert isinstance(head, UniQAAdapter)
    return head


@cache
def ladder(name: str) -> Ladder:
    """The ladders of a data set, encoded; images of training and test have different content."""
    dataset, encoder = load_dataset(name), head_of(QUALITY)
    order = torch.randperm(len(dataset.split.train), generator=torch.Generator().manual_seed(0))
    items = [dataset.split.train[place] for place in order[: CONTENTS + TESTED].tolist()]
    made = [pair for seed, item in enumerate(items) for pair in degraded(dataset.load(item).convert("RGB"), seed)]
    images, grades = [image for image, _ in made], torch.tensor([grade for _, grade in made])
    first = CONTENTS * (len(made) // len(items))
    train = training_features(encoder, images[:first], GradeTraining(crops=CROPS))
    return Ladder(train, grades[:first], answer_features(encoder, images[first:]), grades[first:])


def srcc(predicted: Sequence[float], grades: Tensor) -> float:
    """Spearman's rank correlation."""
    return agreement(predicted, grades.tolist()).srcc


def labelled(count: int, total: int, seed: int) -> tuple[Tensor, Tensor]:
    """Places of the labelled images: to learn from, and a fifth to choose on."""
    drawn = torch.randperm(total, generator=torch.Generator().manual_seed(seed))[:count]
    return drawn[count // 5 :], drawn[: count // 5]


def learnt(name: str, groups: Groups, count: int, seed: int, rate: float = RATE) -> float:
    """SRCC on test images of the adapter that learns from `count` labels."""
    data = ladder(name)
    learn, choose = labelled(count, len(data.grades), seed)
    torch.manual_seed(seed)
    head = head_of(groups, up_scale=0.01)
    settings = GradeTraining(epochs=EPOCHS, lr=rate, batch_size=BATCH, crops=CROPS, seed=seed)
    train_grades(
        head, data.train[learn], data.grades[learn], data.train[choose], data.grades[choose].tolist(), settings
    )
    return srcc(predicted_grades(head, data.test), data.test_grades)


def ridge(name: str, count: int, seed: int) -> float:
    """SRCC on test images of a linear regression on the same features, its strength chosen on the same fifth."""
    data = ladder(name)
    learn, choose = labelled(count, len(data.grades), seed)
    x, mean = data.train.mean(dim=1).double(), data.grades[learn].double().mean()
    centre = x[learn].mean(dim=0)
    inner, outer = x[learn] - centre, (data.grades[learn].double() - mean)

    def fitted(strength: float) -> Tensor:
        gram = inner.T @ inner + strength * torch.eye(x.shape[1], dtype=x.dtype)
        return torch.linalg.solve(gram, inner.T @ outer)

    weights = max(map(fitted, STRENGTHS), key=lambda w: srcc(((x[choose] - centre) @ w).tolist(), data.grades[choose]))
    return srcc(((data.test.mean(dim=1).double() - centre) @ weights).tolist(), data.test_grades)


def zero_shot(name: str, groups: Groups) -> float:
    """SRCC on test images without any training."""
    data = ladder(name)
    head = head_of(groups, adapter=False, learnt_values="none")
    return srcc(predicted_grades(head, data.test), data.test_grades)


def beyond_noise(value: Value) -> bool:
    """Whether a number lies above 0 by more than two standard errors."""
    return value.error is not None and value.value > 2 * value.error


def verdict(values: Sequence[Value]) -> Verdict:
    """ "carries over" if every gain lies beyond two standard errors, "in part" if some do."""
    passed = [beyond_noise(value) for value in values]
    return "carries over" if all(passed) else "in part" if any(passed) else "does not"


def measure() -> list[Finding]:
    plain = {name: zero_shot(name, QUALITY) for name in DATASETS}
    ensemble = {name: zero_shot(name, ENSEMBLE) for name in DATASETS}
    runs = [(name, seed) for name in DATASETS for seed in SEEDS]
    few = {count: [learnt(name, QUALITY, count, seed) for name, seed in runs] for count in LABELS}
    few_ensemble = {count: [learnt(name, ENSEMBLE, count, seed) for name, seed in runs] for count in LABELS}
    linear = {count: [ridge(name, count, seed) for name, seed in runs] for count in LABELS}
    slow = [learnt(name, QUALITY, LABELS[-1], seed, rate=2e-4) for name, seed in runs]
    return [
        _zero_shot_finding(plain, ensemble),
        _few_labels_finding(few, [plain[name] for name, _ in runs], slow),
        _ensemble_finding(plain, ensemble, few, few_ensemble),
        _linear_finding(few_ensemble, linear),
    ]


def _zero_shot_finding(plain: Mapping[str, float], ensemble: Mapping[str, float]) -> Finding:
    values = (
        over("SRCC with 5 phrases of quality", list(plain.values()), ""),
        over("SRCC with 4 groups of phrases", list(ensemble.values()), ""),
    )
    return Finding(
        "Without any training, graded prompts order images by quality",
        "released logs",
        f"{SETTING}; no label is used",
        values,
        verdict(values),
        "The correlation lies above 0 by more than two standard errors over data sets with "
        f"{sum(map(beyond_noise, values))} of the {len(values)} sets of phrases.",
    )


def _few_labels_finding(few: Mapping[int, list[float]], plain: list[float], slow: list[float]) -> Finding:
    gains = [difference(f"SRCC over zero-shot, {count} labels", few[count], plain, "") for count in LABELS]
    values = [over(f"SRCC, {count} labels", few[count], "") for count in LABELS]
    return Finding(
        "The adapter learns grades from 50 to 200 labels",
        "released logs",
        f"{SETTING}; one group, Adam at {RATE}, {EPOCHS} epochs, batches of {BATCH}, near zero-shot at the start",
        (*values, *gains, over(f"SRCC, {LABELS[-1]} labels, at the released rate of 0.0002", slow, "")),
        verdict(gains),
        f"The gain over zero-shot lies beyond two standard errors at {sum(map(beyond_noise, gains))} of "
        f"{len(gains)} numbers of labels.",
    )


def _ensemble_finding(
    plain: Mapping[str, float],
    ensemble: Mapping[str, float],
    few: Mapping[int, list[float]],
    few_ensemble: Mapping[int, list[float]],
) -> Finding:
    gains = [difference("zero-shot", list(ensemble.values()), list(plain.values()), "")]
    gains += [difference(f"{count} labels", few_ensemble[count], few[count], "") for count in LABELS]
    return Finding(
        "An ensemble of four groups of prompts is better than one group, most so with few labels or none",
        "released logs",
        f"{SETTING}; differences of SRCC, four groups minus one",
        tuple(gains),
        verdict(gains),
        f"The ensemble is better beyond two standard errors in {sum(map(beyond_noise, gains))} of {len(gains)} rows.",
    )


def _linear_finding(few_ensemble: Mapping[int, list[float]], linear: Mapping[int, list[float]]) -> Finding:
    gains = [
        difference(f"adapter minus regression, {count} labels", few_ensemble[count], linear[count], "")
        for count in LABELS
    ]
    values = [over(f"SRCC of the regression, {count} labels", linear[count], "") for count in LABELS]
    worse = sum(value.error is not None and value.value < -2 * value.error for value in gains)
    return Finding(
        "With few labels, phrases help: the adapter is better than a regression that reads no text",
        "ours",
        f"{SETTING}; ridge regression on the same features, its strength chosen on the same fifth; "
        "the adapter has four groups",
        (*values, *gains),
        verdict(gains),
        f"The adapter is better beyond two standard errors at {sum(map(beyond_noise, gains))} of {len(gains)} numbers "
        f"of labels, and worse at {worse}; the mean over numbers of labels is "
        f"{statistics.fmean(value.value for value in gains):+.3f}.",
    )
