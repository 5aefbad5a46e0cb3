"""The in-context classifier against methods without training, on data sets whose classes its meta-model never saw.

The meta-model has seen training images of icons and emoji, without classes that share words with the data sets here.
Every other choice, such as Tip-Adapter's and the strength of the ridge, falls on validation images.
"""

import statistics
from collections.abc import Callable, Sequence
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit import ClassSet, Support, create_method
from adaptkit.features import SincMeta, TipAdapter
from adaptkit.features.sinc_meta import read_meta_model
from adaptkit.features.sinc_meta.names import related_to, seen_among
from benchmarks.seed_systems.findings import Finding, Value, difference, over
from benchmarks.seed_systems.suite import Suite, accuracy, backbone, suite
from benchmarks.verdicts import beats, loses, sentence, verdict
from datasets_fewshot import load_dataset

DATASETS = ("openclipart", "fashion_mnist")
STRANGERS = ("emoji_food", "emoji_travel")  # whose names stand beside the classes and have no demonstrations
SHOTS, SEEDS = (1, 2, 4, 8, 16), (1, 2, 3)
STRENGTHS = [10.0**power for power in range(-3, 4)]  # of the ridge probe
MOST_VALIDATED = 4  # images a class to choose on, and no more than shots, as in the few-shot protocol
ORDERS = 20
PAIRS = 30  # of classes in the test of exchanged labels
Classify = Callable[[Suite, Support, Support], Tensor]  # (data, demonstrations, validation) -> test logits (N, C)


@cache
def seen() -> tuple[str, ...]:
    """Names of the classes that the embedded meta-model learnt on."""
    return read_meta_model("", backbone()).provenance.seen


def setting(more: str) -> str:
    """What all measurements here share, and what is a finding's own."""
    return (
        f"{' and '.join(DATASETS)}, {len(SEEDS)} draws of demonstrations; the meta-model learnt on {len(seen())} "
        f"classes of icons and emoji, none of which shares its words with a class here; {more}"
    )


def parts(data: Suite, shots: int, seed: int) -> tuple[Support, Support]:
    """Demonstrations, and other training images to choose on."""
    chosen = data.train.shots(shots + min(shots, MOST_VALIDATED), seed)
    labels = data.train.labels[chosen]
    rank = torch.cat([torch.arange(int((labels == label).sum())) for label in labels.unique()])  # shots stand by class
    return tuple(  # type: ignore[return-value]
        Support(data.train.features[places], data.train.labels[places])
        for places in (chosen[rank < shots], chosen[rank >= shots])
    )


def in_context(classes: ClassSet) -> SincMeta:
    """The method on classes that its meta-model has not seen."""
    method = create_method("sinc_meta", backbone(), classes, seen_classes="refuse")
    assert isinstance(method, SincMeta)
    return method.eval()


def sinc_meta(data: Suite, demos: Support, validation: Support) -> Tensor:
    method = in_context(data.classes)
    method.prepare(demos)
    return method.logits(data.test.features)


def zero_shot(data: Suite, demos: Support, validation: Support) -> Tensor:
    return create_method("zero_shot", backbone(), data.classes).logits(data.test.features)


def tip_adapter(data: Suite, demos: Support, validation: Support) -> Tensor:
    method = create_method("tip_adapter", backbone(), data.classes)
    assert isinstance(method, TipAdapter)
    method.prepare(demos)
    method.tune(validation)
    return method.logits(data.test.features)


def nearest_mean(data: Suite, demos: Support, validation: Support) -> Tensor:
    """Cosines with the mean of each class's unit features; it reads no text."""
    unit = F.normalize(demos.x, dim=-1)
    sums = torch.zeros(len(data.classes), unit.shape[1]).index_add(0, demos.labels, unit)
    return F.normalize(data.test.features, dim=-1) @ F.normalize(sums, dim=-1).T


def ridge_probe(data: Suite, demos: Support, validation: Support) -> Tensor:
    """Ridge regression of one-hot labels on unit features; it reads no text."""
    x, targets = F.normalize(demos.x, dim=-1).double(), F.one_hot(demos.labels, len(data.classes)).double()
    centre, gram = x.mean(dim=0), (x - x.mean(dim=0)).T @ (x - x.mean(dim=0))

    def fitted(strength: float) -> Tensor:
        identity = torch.eye(x.shape[1], dtype=x.dtype)
        return torch.linalg.solve(gram + strength * identity, (x - centre).T @ (targets - targets.mean(dim=0)))

    def logits(weights: Tensor, features: Tensor) -> Tensor:
        return (F.normalize(features, dim=-1).double() - centre) @ weights + targets.mean(dim=0)

    best = max(map(fitted, STRENGTHS), key=lambda w: accuracy(logits(w, validation.x), validation.labels))
    return logits(best, data.test.features)


METHODS: dict[str, Classify] = {
    "sinc_meta": sinc_meta,
    "zero-shot CLIP": zero_shot,
    "Tip-Adapter": tip_adapter,
    "nearest class mean": nearest_mean,
    "ridge probe": ridge_probe,
}


@cache
@torch.no_grad()
def accuracies(name: str, shots: int) -> list[float]:
    """Accuracy in percent of a method on every data set and draw."""
    found = []
    for dataset in DATASETS:
        data = suite(dataset)
        for seed in SEEDS:
            demos, validation = parts(data, shots, seed)
            found.append(accuracy(METHODS[name](data, demos, validation), data.test.labels))
    return found


@torch.no_grad()
def spread_over_orders() -> Value:
    """Standard deviation of the accuracy over orders of the same demonstrations, its largest over data sets."""
    largest, changed = 0.0, 0.0
    for name in DATASETS:
        data = suite(name)
        demos, _ = parts(data, 4, SEEDS[0])
        logits = []
        for seed in range(ORDERS):
            order = torch.randperm(len(demos.labels), generator=torch.Generator().manual_seed(seed))
            method = in_context(data.classes)
            method.prepare(Support(demos.x[order], demos.labels[order]))
            logits.append(method.logits(data.test.features))
        largest = max(largest, statistics.pstdev(accuracy(row, data.test.labels) for row in logits))
        changed = max(changed, max(float((row - logits[0]).abs().max()) for row in logits))
    return Value(
        f"standard deviation of the accuracy over {ORDERS} orders, largest difference of a logit {changed:g}",
        largest,
        None,
        "points",
    )


@cache
@torch.no_grad()
def followed(shots: int, exchanged: bool, method: str) -> list[float]:
    """Per data set, the share of images in percent that get the label which the demonstrations give their kind.

    Tasks have two classes. Exchanged, the demonstrations of each bear the name of the other.
    """
    found = []
    for dataset in DATASETS:
        data, shares = suite(dataset), []
        generator = torch.Generator().manual_seed(shots)
        for seed in range(PAIRS // len(DATASETS)):
            pair = torch.randperm(len(data.classes), generator=generator)[:2].tolist()
            demos, validation = (_of_pair(part, pair, exchanged) for part in parts(data, shots, seed))
            names = ClassSet(tuple(data.classes.classnames[label] for label in pair))
            task = Suite(dataset, names, data.train, data.test)
            logits = METHODS[method](task, demos, validation)
            for place, label in enumerate(pair):
                told = 1 - place if exchanged else place
                rows = logits[data.test.labels == label].argmax(dim=1)
                shares.append(100 * float((rows == told).float().mean()))
        found.append(statistics.fmean(shares))
    return found


def _of_pair(part: Support, pair: Sequence[int], exchanged: bool) -> Support:
    """The examples of two classes with labels 0 and 1, or 1 and 0."""
    is_first, is_second = part.labels == pair[0], part.labels == pair[1]
    chosen = is_first | is_second
    labels = (is_first if exchanged else is_second)[chosen].long()
    return Support(part.x[chosen], labels)


@torch.no_grad()
def with_distractors(method: str, total: int) -> list[float]:
    """Accuracy with names of classes beside the data set's that have no demonstrations, up to `total` classes."""
    found = []
    for dataset in DATASETS:
        data = suite(dataset)
        own = data.classes.classnames
        others = [name for other in STRANGERS for name in load_dataset(other).classnames]
        known = {*related_to(others, own), *seen_among(others, seen())}
        strangers = [name for name in dict.fromkeys(others) if name not in known]
        task = Suite(dataset, ClassSet((*own, *strangers[: max(0, total - len(own))])), data.train, data.test)
        for seed in SEEDS:
            demos, validation = parts(data, 4, seed)
            found.append(accuracy(METHODS[method](task, demos, validation), data.test.labels))
    return found


def measure() -> list[Finding]:
    return [
        _few_shot_finding("zero-shot CLIP"),
        *(_few_shot_finding(other) for other in ("Tip-Adapter", "nearest class mean", "ridge probe")),
        _order_finding(),
        _flip_finding(),
        _distractor_finding(),
    ]


def _few_shot_finding(other: str) -> Finding:
    gains = [
        difference(f"{shots} shots, sinc_meta less {other}", accuracies("sinc_meta", shots), accuracies(other, shots))
        for shots in SHOTS
    ]
    values = [
        over(f"{shots} shots, {name}", accuracies(name, shots)) for shots in SHOTS for name in ("sinc_meta", other)
    ]
    if other == "zero-shot CLIP":
        values = [over(f"{shots} shots, sinc_meta", accuracies("sinc_meta", shots)) for shots in SHOTS]
        values.append(over(other, accuracies(other, SHOTS[0])))
    return Finding(
        f"From a few images in its context it classifies better than {other}",
        "ours",
        setting("errors are over data sets and draws"),
        (*values, *gains),
        verdict(*map(beats, gains)),
        f"It is better by more than two standard errors at {sum(map(beats, gains))} of {len(gains)} numbers of shots, "
        f"and worse at {sum(map(loses, gains))}.",
    )


def _order_finding() -> Finding:
    spread = spread_over_orders()
    return Finding(
        "The order of the demonstrations does not matter",
        "ours",
        setting("4 shots, the first draw"),
        (spread,),
        verdict(spread.value == 0),
        "All orders give the same logits, to the last bit." if "logit 0" in spread.what else "Orders differ.",
    )


def _flip_finding() -> Finding:
    values, follows = [], []
    for shots in SHOTS:
        share = over(
            f"{shots} shots, exchanged: answers that follow the demonstrations", followed(shots, True, "sinc_meta")
        )
        follows.append(beats(Value("over chance", share.value - 50, share.error, "points")))
        values.append(share)
    for name in ("Tip-Adapter", "zero-shot CLIP"):
        values.append(over(f"{SHOTS[-1]} shots, exchanged, {name}", followed(SHOTS[-1], True, name)))
    values.append(over(f"{SHOTS[-1]} shots, not exchanged, sinc_meta", followed(SHOTS[-1], False, "sinc_meta")))
    return Finding(
        "Where the demonstrations of two classes bear each other's name, answers follow the demonstrations",
        "ours",
        setting(f"{PAIRS} pairs of classes; errors are over data sets"),
        tuple(values),
        verdict(*follows),
        f"More than half of the answers follow them, by more than two standard errors, at {sum(follows)} of "
        f"{len(follows)} numbers of shots.",
    )


def _distractor_finding() -> Finding:
    values, gains = [], []
    for total in (0, 64, 90):
        words = "no other names" if not total else f"{total} classes with those without demonstrations"
        ours, plain = with_distractors("sinc_meta", total), with_distractors("zero-shot CLIP", total)
        values += [over(f"{words}, sinc_meta", ours), over(f"{words}, zero-shot CLIP", plain)]
        gains.append(difference(f"{words}, sinc_meta less zero-shot CLIP", ours, plain))
    return Finding(
        "Names of classes without demonstrations do not take the gain away",
        "ours",
        setting("4 shots, names of food and of travel; above 64 classes contexts are pruned to 20"),
        (*values, *gains),
        verdict(*map(beats, gains)),
        " ".join(sentence(gain, gain.what.split(",")[0]) for gain in gains),
    )
