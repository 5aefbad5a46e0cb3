"""What classification by description claims, measured on the ten embedded data sets."""

import warnings
from collections.abc import Sequence
from functools import cache
from statistics import fmean
from typing import Any

import torch

from adaptkit import AdaptedCLIP, Support, create_method
from adaptkit.wrappers.descriptions import DescriptionsConfig
from benchmarks.seed_systems.findings import Finding, Value, Verdict, difference, over
from benchmarks.seed_systems.suite import ALL, Suite, accuracy, backbone, suite

SHOTS, STEPS, SEEDS, RATE = 4, 50, (1, 2, 3), 0.01
TEMPLATES = ("a photo of a {}.", "a drawing of a {}.", "an icon of a {}.", "a picture of a {}.", "{}")


def tested(method: AdaptedCLIP, data: Suite) -> float:
    """Accuracy in percent on the test images."""
    with torch.no_grad():
        return accuracy(method.eval().logits(data.test.features), data.test.labels)


def made(data: Suite, **options: Any) -> AdaptedCLIP:
    """The method on a data set's classes."""
    return create_method("classify_by_description", backbone(), data.classes, None, **options)


@cache
def plain(template: str) -> list[float]:
    """Zero-shot accuracy of every data set with one template."""
    return [
        tested(create_method("zero_shot", backbone(), suite(n).classes.with_templates((template,))), suite(n))
        for n in ALL
    ]


def with_random_phrases() -> list[float]:
    """Accuracy with as many random phrases a class as it has descriptors on average, over three draws."""
    means = []
    for name in ALL:
        data = suite(name)
        described = made(data)
        count = max(2, round(len(described.owners) / len(data.classes)))  # type: ignore[arg-type]
        drawn = [tested(made(data, source="waffle", waffle_count=count, waffle_seed=seed), data) for seed in SEEDS]
        means.append(sum(drawn) / len(drawn))
    return means


def learnt(data: Suite, method: AdaptedCLIP, seed: int) -> float:
    """Accuracy with weights of the descriptors that are learnt from a few images; the method starts anew."""
    (preferences,) = method.learnt_parameters().values()
    with torch.no_grad():
        preferences.copy_(method.shares.log())  # type: ignore[operator]
    method.train()
    places = data.train.shots(SHOTS, seed)
    x, labels = data.train.features[places], data.train.labels[places]
    optimizer = torch.optim.AdamW(method.learnt_parameters().values(), lr=RATE)
    for _ in range(STEPS):
        optimizer.zero_grad()
        method.backward(x, labels)
        optimizer.step()
    return tested(method, data)


def mean_learnt(data: Suite) -> float:
    """The mean accuracy with learnt weights over the seeds."""
    method = made(data, learn="weights")
    return fmean(learnt(data, method, seed) for seed in SEEDS)


def mean_tip(data: Suite, wrap: Sequence[tuple[str, object]]) -> float:
    """The mean accuracy of Tip-Adapter over the seeds, whose cache is filled anew for each."""
    method = create_method("tip_adapter", backbone(), data.classes, None, wrap=wrap)
    found = []
    for seed in SEEDS:
        places = data.train.shots(SHOTS, seed)
        method.prepare(Support(data.train.features[places], data.train.labels[places]))
        found.append(tested(method, data))
    return fmean(found)


def judged(gain: Value) -> Verdict:
    """A claimed gain carries over if it is above two standard errors, and does not if it is not above none."""
    assert gain.error is not None
    if gain.value > 2 * gain.error:
        return "carries over"
    return "in part" if gain.value > 0 else "does not"


def measure() -> list[Finding]:
    """The claims of the paper, and those of our additions."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # every class of the suite has descriptors
        described = [tested(made(suite(name)), suite(name)) for name in ALL]
        sentences = [tested(made(suite(name), template="a photo of a {}."), suite(name)) for name in ALL]
    names, photo = plain("{}"), plain("a photo of a {}.")
    ensemble = [
        tested(create_method("zero_shot", backbone(), suite(n).classes.with_templates(TEMPLATES)), suite(n))
        for n in ALL
    ]
    random = with_random_phrases()
    weighted = [mean_learnt(suite(name)) for name in ALL]
    on_templates = [mean_tip(suite(name), ()) for name in ALL]
    on_descriptors = [mean_tip(suite(name), (("descriptions", DescriptionsConfig()),)) for name in ALL]
    over_names = difference("descriptors less names alone", described, names)
    over_random = difference("descriptors less random phrases", described, random)
    by_weights = difference("learnt weights less equal ones", weighted, described)
    in_tip = difference("Tip-Adapter on descriptors less on templates", on_descriptors, on_templates)
    return [
        Finding(
            "Descriptors classify better than class names alone",
            "abstract",
            "Ten data sets, all classes, test images; errors are over data sets",
            (over("names alone", names), over("descriptors", described), over_names),
            judged(over_names),
            "The embedded tower has learnt short names in templates and never a clause, so a longer phrase leaves its "
            "text further from images."
            if over_names.value < 0
            else "Descriptors help the embedded tower.",
        ),
        Finding(
            "The gain is the descriptors' and not that of more texts",
            "Roth et al., as a control",
            "As many random phrases a class as it has descriptors, three draws",
            (over("random phrases", random), over("five templates", ensemble), over_random),
            judged(over_random),
            "Random words behind the name do about as well as descriptors do."
            if abs(over_random.value) <= 2 * (over_random.error or 0)
            else "Descriptors and random words differ by more than two standard errors.",
        ),
        Finding(
            "A sentence around the phrase is not needed",
            "released code, which has none",
            "The same descriptors inside “a photo of a ...”",
            (over("a photo of a name", photo), over("a photo of a described name", sentences)),
            judged(difference("without less with the sentence", described, sentences)),
            "On this tower, which was trained with the sentence, the phrase inside it is better by "
            f"{sum(sentences) / len(sentences) - sum(described) / len(described):.1f} points.",
        ),
        Finding(
            "Weights of descriptors that are learnt from a few images help",
            "ours",
            f"{SHOTS} shots, {STEPS} steps of AdamW at {RATE}, three seeds; errors are over data sets",
            (over("learnt weights", weighted), by_weights),
            judged(by_weights),
            "Weights move within the descriptors of a class and cannot leave them.",
        ),
        Finding(
            "Descriptors can stand under Tip-Adapter",
            "ours",
            f"{SHOTS} shots, no search, three seeds",
            (over("on templates", on_templates), over("on descriptors", on_descriptors), in_tip),
            judged(in_tip),
            "The cache does not care which texts stand beside it; it inherits their accuracy.",
        ),
        _sums(),
    ]


def _sums() -> Finding:
    data = suite("icons")
    method = made(data).eval()
    reasons = method.reasons(data.test.features, topk=3)  # type: ignore[operator]
    off = max(abs(sum(part.contribution for part in found.parts) - found.score) for row in reasons for found in row)
    return Finding(
        "Each answer is explained by contributions that sum to the score",
        "abstract",
        f"{len(data.test.labels)} test images of icons, three best classes each",
        (Value("largest difference from the score", off, None, ""),),
        "carries over" if off < 1e-5 else "does not",
        "The contributions are the cosines over the number of descriptors, so they sum by construction.",
    )
