"""Post-hoc debiasing on the embedded suite: what an image-absent prior takes out, and what that changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch

from adaptkit import AdaptedCLIP, ClassSet, Support, create_method
from adaptkit.wrappers.posthoc_debias.equations import answer_prior, calibrated, identity
from adaptkit.wrappers.posthoc_debias.measures import Measures
from adaptkit.wrappers.posthoc_debias.wrapper import PosthocDebias, PosthocDebiasConfig
from benchmarks.seed_systems import suite as suites
from benchmarks.seed_systems.findings import Finding, Value, Verdict, difference, over

SEVERAL_PER_CLASS = ("emoji_subgroups", "openclipart", "icons", "fashion_mnist")  # 8 test images a class or more
ADAPTERS = ("clip_adapter", "taskres", "tip_adapter")
PRIORS = ("blank", "noise", "mean")
SHOTS, SEEDS, EPOCHS, RATE = 16, 3, 40, 2e-3
SKEW = 8  # how many times more images the first half of the classes has


def rule(gain: Value, wanted: float = 1.0) -> Verdict:
    """A claim carries over where a gain is more than two standard errors above zero."""
    assert gain.error is not None
    return "carries over" if wanted * gain.value > 2 * gain.error else "does not"


def best_and_all(gains: Sequence[Value], wanted: float = 1.0) -> Verdict:
    """All gains carry over, or some do, or none."""
    kept = [rule(gain, wanted) == "carries over" for gain in gains]
    return "carries over" if all(kept) else "in part" if any(kept) else "does not"


@dataclass(frozen=True)
class Pair:
    """Facts of answers before and after a correction."""

    before: Measures
    after: Measures


def wrapped(method: str, classes: ClassSet, **options: object) -> PosthocDebias:
    config = PosthocDebiasConfig(**options)  # type: ignore[arg-type]
    made = create_method(method, suites.backbone(), classes, wrap=[("posthoc_debias", config)])
    assert isinstance(made, PosthocDebias)
    return made


def prepared(name: str, classes: ClassSet | None = None, **options: object) -> PosthocDebias:
    """Zero-shot with a correction; a mean is that of all training images, without labels."""
    data = suites.suite(name)
    made = wrapped("zero_shot", classes or data.classes, **options)
    made.prepare(Support(data.train.features, data.train.labels))
    return made.eval()


@cache
def zero_shot(name: str, prior: str, scale: float | None = None) -> Pair:
    test = suites.suite(name).test
    return Pair(*prepared(name, prior=prior, prior_scale=scale).before_and_after(test.features, test.labels))


def values_of(pairs: Sequence[Pair], fact: str) -> tuple[list[float], list[float]]:
    return [getattr(pair.after, fact) for pair in pairs], [getattr(pair.before, fact) for pair in pairs]


def gain(what: str, pairs: Sequence[Pair], fact: str, unit: str = "points") -> Value:
    return difference(what, *values_of(pairs, fact), unit)


def zero_shot_finding() -> Finding:
    before = over("accuracy of zero-shot", [zero_shot(name, "blank").before.accuracy for name in suites.ALL])
    gains = [
        gain(f"gain with the prior of {prior}", [zero_shot(name, prior) for name in suites.ALL], "accuracy")
        for prior in PRIORS
    ]
    full = [zero_shot(name, "blank", 1.0) for name in suites.ALL]
    return Finding(
        "Taking out the image-absent prior raises accuracy",
        "abstract, of language models; for CLIP ours",
        f"Zero-shot on all {len(suites.ALL)} data sets, diag with strength 1; errors over data sets. The mean is that "
        "of unlabelled training images.",
        (before, *gains, gain("gain with the prior of blank, prior_scale=1", full, "accuracy")),
        best_and_all(gains),
        _better(gains),
    )


def _better(gains: Sequence[Value]) -> str:
    """What the rule says of each gain, in a sentence."""

    def verdict(value: Value) -> str:
        assert value.error is not None
        size = abs(value.value) > 2 * value.error
        return ("higher" if value.value > 0 else "lower") if size else "not told apart from 0"

    return "By more than two standard errors: " + "; ".join(f"{each.what}: {verdict(each)}" for each in gains) + "."


def fairness_finding() -> Finding:
    pairs = {prior: [zero_shot(name, prior) for name in SEVERAL_PER_CLASS] for prior in PRIORS}
    worst = [gain(f"change of the worst class's recall, {prior}", pairs[prior], "worst_recall") for prior in PRIORS]
    spread = [
        gain(f"change of the entropy of the answers, {prior}", pairs[prior], "entropy", "nats") for prior in PRIORS
    ]
    before = over("worst class's recall of zero-shot", values_of(pairs["blank"], "worst_recall")[1])
    return Finding(
        "Classes that are recognised worst gain, and answers spread more evenly",
        "ours",
        f"Zero-shot on the {len(SEVERAL_PER_CLASS)} data sets with 8 test images a class or more; errors over them.",
        (before, *worst, *spread),
        best_and_all([*worst, *spread]),
        _better([*worst, *spread]),
    )


def calibration_finding() -> Finding:
    pairs = {prior: [zero_shot(name, prior) for name in suites.ALL] for prior in PRIORS}
    changes = [gain(f"change of the calibration error, {prior}", pairs[prior], "ece") for prior in PRIORS]
    before = over("expected calibration error of zero-shot", values_of(pairs["blank"], "ece")[1])
    return Finding(
        "The calibration error falls",
        "ours",
        f"Zero-shot on all {len(suites.ALL)} data sets, 15 bins; errors over data sets.",
        (before, *changes),
        best_and_all(changes, wanted=-1),
        _better(changes),
    )


@cache
def adapted(name: str, adapter: str, seed: int) -> AdaptedCLIP:
    """An adapter trained on 16 shots, or on all images of a class that has fewer."""
    data = suites.suite(name)
    torch.manual_seed(seed)
    places = data.train.shots(SHOTS, seed)
    method = wrapped(adapter, data.classes)
    support = Support(data.train.features[places], data.train.labels[places])
    method.prepare(support)
    learnt = list(method.learnt_parameters().values())
    if not learnt:
        return method.eval()
    optimizer = torch.optim.AdamW(learnt, lr=RATE)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(places)).split(256):
            optimizer.zero_grad()
            method.backward(support.x[batch], support.labels[batch])
            optimizer.step()
    return method.eval()


def corrected_adapter(name: str, adapter: str, seed: int, prior: str) -> Pair:
    """An adapter before and after a correction; the mean is that of all training images, without labels."""
    data = suites.suite(name)
    trained = adapted(name, adapter, seed)
    made = wrapped(adapter, data.classes, prior=prior)
    assert isinstance(trained, PosthocDebias)
    places = data.train.shots(SHOTS, seed)
    made.prepare(Support(data.train.features[places], data.train.labels[places]))
    made.inner.load_learnt_state(trained.inner.learnt_state())
    if prior == "mean":
        made.absent.copy_(data.train.features.mean(dim=0, keepdim=True))
    return Pair(*made.eval().before_and_after(data.test.features, data.test.labels))


def adapter_finding() -> Finding:
    values: list[Value] = []
    gains: list[Value] = []
    for adapter in ADAPTERS:
        for prior in ("blank", "mean"):
            pairs = [[corrected_adapter(name, adapter, seed, prior) for seed in range(SEEDS)] for name in suites.ALL]
            by_name = [sum(pair.after.accuracy - pair.before.accuracy for pair in own) / SEEDS for own in pairs]
            errors = [sum(pair.after.ece - pair.before.ece for pair in own) / SEEDS for own in pairs]
            worst = [
                sum(pair.after.worst_recall - pair.before.worst_recall for pair in own) / SEEDS
                for own, name in zip(pairs, suites.ALL, strict=True)
                if name in SEVERAL_PER_CLASS
            ]
            if prior == "blank":
                before = [sum(pair.before.accuracy for pair in own) / SEEDS for own in pairs]
                values.append(over(f"accuracy of {adapter}", before))
            gains.append(over(f"gain of {adapter} with {prior}", by_name, "points"))
            values += [
                gains[-1],
                over(f"change of its worst class's recall with {prior}", worst, "points"),
                over(f"change of its calibration error with {prior}", errors, "points"),
            ]
    return Finding(
        "It also helps around few-shot adapters",
        "ours",
        f"{SHOTS} shots or all images of a class that has fewer, {SEEDS} seeds, {EPOCHS} epochs of AdamW at {RATE}; "
        f"means over seeds, errors over all {len(suites.ALL)} data sets, for recalls over {len(SEVERAL_PER_CLASS)}.",
        tuple(values),
        best_and_all(gains),
        _better(gains),
    )


def spurious(names: ClassSet) -> ClassSet:
    """Every other class as its bare name, the others in a sentence."""
    sentences = tuple(
        (f"a photo of a {name}." if number % 2 else str(name),) for number, name in enumerate(names.readable)
    )
    return ClassSet(names.classnames, names.templates, sentences)


def spurious_finding() -> Finding:
    plain, biased = [], []
    restored: dict[str, list[float]] = {prior: [] for prior in PRIORS}
    for name in suites.ALL:
        data = suites.suite(name)
        plain.append(zero_shot(name, "blank").before.accuracy)
        for prior in PRIORS:
            made = prepared(name, spurious(data.classes), prior=prior)
            before, after = made.before_and_after(data.test.features, data.test.labels)
            restored[prior].append(after.accuracy)
        biased.append(before.accuracy)
    lost = difference("change by unequal prompts", biased, plain)
    gains = [difference(f"gain back with {prior}", restored[prior], biased) for prior in PRIORS]
    return Finding(
        "Deliberately unequal prompts are made up for",
        "ours",
        f'Zero-shot on all {len(suites.ALL)} data sets, "NAME" and "a photo of a NAME." in turn; errors over them.',
        (over("accuracy with equal prompts", plain), over("accuracy with unequal ones", biased), lost, *gains),
        best_and_all(gains),
        _better(gains),
    )


def strength_finding() -> Finding:
    """Label-free choice on balanced training images against strength 1 and the choice by their labels."""
    chosen: dict[str, list[float]] = {"one": [], "unlabelled": [], "labels": []}
    strengths = []
    for name in suites.ALL:
        data = suites.suite(name)
        made = prepared(name, prior="mean")
        places = data.train.shots(SHOTS, 0)
        x, labels = data.train.features[places], data.train.labels[places]
        for how, given in (("one", None), ("unlabelled", None), ("labels", labels)):
            if how != "one":
                made.choose_strength(x, given)
            strengths += [float(made.strength)] if how == "unlabelled" else []
            chosen[how].append(made.before_and_after(data.test.features, data.test.labels)[1].accuracy)
    against_none = difference(
        "label-free choice against no correction",
        chosen["unlabelled"],
        [zero_shot(name, "mean").before.accuracy for name in suites.ALL],
    )
    return Finding(
        "The strength can be chosen without labels",
        "ours",
        f"Zero-shot with the mean as prior on all {len(suites.ALL)} data sets; chosen on at most {SHOTS} training "
        "images of each class; errors over data sets.",
        (
            over("strength chosen without labels", strengths, ""),
            against_none,
            difference("label-free choice against strength 1", chosen["unlabelled"], chosen["one"]),
            difference("label-free choice against the choice by labels", chosen["unlabelled"], chosen["labels"]),
        ),
        rule(against_none),
        _better([against_none]),
    )


def skew_finding() -> Finding:
    even, skewed = [], []
    for name in SEVERAL_PER_CLASS:
        data = suites.suite(name)
        n_classes = len(data.classes)
        frequent = data.test.labels < n_classes // 2
        order = torch.randperm(int((~frequent).sum()), generator=torch.Generator().manual_seed(0))
        rare = (~frequent).nonzero()[:, 0][order[: max(1, len(order) // SKEW)]]
        keep = torch.cat([frequent.nonzero()[:, 0], rare])
        pair = prepared(name, prior="mean").before_and_after(data.test.features[keep], data.test.labels[keep])
        skewed.append(pair[1].accuracy - pair[0].accuracy)
        even.append(zero_shot(name, "mean").after.accuracy - zero_shot(name, "mean").before.accuracy)
    change = difference("gain on skewed classes less gain on even ones", skewed, even)
    return Finding(
        "The gain is smaller where the classes are not equally frequent, because a uniform prior is assumed",
        "ours",
        f"Zero-shot with the mean as prior; the second half of the classes keeps one in {SKEW} of its test images. "
        f"The {len(SEVERAL_PER_CLASS)} data sets with 8 test images a class or more; errors over them.",
        (over("gain on even classes", even, "points"), over("gain on skewed classes", skewed, "points"), change),
        rule(change, wanted=-1),
        _better([change]),
    )


def flip_finding() -> Finding:
    """The released identity_W on CLIP's probabilities against the clamped one, prior of blank images."""
    released, clamped, plain = [], [], []
    for name in suites.ALL:
        data, made = suites.suite(name), prepared(name, prior="blank")
        with torch.no_grad():
            p = made.inner.logits(data.test.features).softmax(dim=-1)
            prior = made.image_absent_prior()
        q = calibrated(p, answer_prior([prior.expand_as(p)], "individual"), "identity_W")
        plain.append(suites.accuracy(p, data.test.labels))
        released.append(suites.accuracy(q, data.test.labels))
        clamped.append(suites.accuracy(identity(p, prior), data.test.labels))
    loss = difference("released identity_W less clamped identity", released, clamped)
    assert loss.error is not None
    return Finding(
        "Released identity_W divides by a negative sum and so answers with the class that loses most",
        "released code",
        f"Zero-shot on all {len(suites.ALL)} data sets with the prior of blank images; errors over data sets.",
        (
            over("accuracy of zero-shot", plain),
            over("accuracy of released identity_W", released),
            over("accuracy of clamped identity", clamped),
            difference("clamped identity less zero-shot", clamped, plain),
            loss,
        ),
        rule(loss, wanted=-1),
        _better([loss]),
    )


def measure() -> list[Finding]:
    """Measure the claims."""
    return [
        zero_shot_finding(),
        fairness_finding(),
        calibration_finding(),
        adapter_finding(),
        spurious_finding(),
        strength_finding(),
        skew_finding(),
        flip_finding(),
    ]
