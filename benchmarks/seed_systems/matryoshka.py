"""Nested sizes and exits on the embedded model: accuracy, cascades and retrieval, with raw prefixes and PCA beside."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from adaptkit import class_weights, create_head
from adaptkit.heads import Matryoshka
from adaptkit.heads.matryoshka.cascade import best_scale, cascade, thresholds
from adaptkit.heads.matryoshka.retrieval import mean_average_precision_at, search
from benchmarks.seed_systems.findings import Finding, Value, Verdict, difference, over
from benchmarks.seed_systems.suite import accuracy, backbone, suite
from trainers.fit.nested import NestedTraining, cache_images, train_nested

DATASETS = ("emoji_objects", "openclipart", "icons")
SEEDS, EPOCHS = (1, 2), 20
TOLERANCE = 1.0  # points of accuracy or mAP that count as equal
HELD_OUT = 4  # one in so many training images chooses thresholds and is not for training the map
RETRIEVED = 10
SHORTLIST = 50
LOGGED_HALF = 100 * 75 / 86  # percent of STSB's score that half of the layers keep, in sentence-transformers' log
IMAGES_PER_PASS = 256


@dataclass(frozen=True)
class Cached:
    """What the tower computes of a data set: features (N, D), rows of exits (N, E, D_v), labels; and texts (C, D)."""

    features: Tensor
    rows: Tensor
    labels: Tensor
    test_features: Tensor
    test_rows: Tensor
    test_labels: Tensor
    texts: Tensor

    def places(self, held_out: bool) -> Tensor:
        """Places of training images that the map learns from, or of the others."""
        is_held = torch.arange(len(self.labels)) % HELD_OUT == 0
        return (is_held if held_out else ~is_held).nonzero()[:, 0]


@dataclass(frozen=True)
class Vectors:
    """Rotated features of held-out and test images, and of texts; not cut yet."""

    held_out: Tensor
    test: Tensor
    texts: Tensor

    def test_logits(self, head: Matryoshka, size: int) -> Tensor:
        return head.logits(self.test, self.texts, size)


def exits() -> tuple[int, ...]:
    """The depths that are tried: all but the last."""
    return tuple(range(1, backbone().vision_depth))


def head_of(**options: object) -> Matryoshka:
    head = create_head("matryoshka", backbone(), contrast="classes", **options)
    assert isinstance(head, Matryoshka)
    return head


@cache
def cached(name: str) -> Cached:
    """A data set, encoded with the rows of every exit."""
    data, head = suite(name), head_of(depths=exits())
    train, test = (cache_images(head, part.images().split(IMAGES_PER_PASS)) for part in (data.train, data.test))
    assert train[1] is not None
    assert test[1] is not None
    texts = class_weights(backbone(), data.classes)
    return Cached(train[0], train[1], data.train.labels, test[0], test[1], data.test.labels, texts)


@cache
def trained(name: str, seed: int) -> Matryoshka:
    """A head with all exits whose map and exits learnt from a data set's training images."""
    data, head = cached(name), head_of(depths=exits())
    learn = data.places(held_out=False)
    settings = NestedTraining(epochs=EPOCHS, seed=seed)
    train_nested(head, data.features[learn], data.texts[data.labels[learn]], settings, data.rows[learn])
    return head


def fresh(name: str, start: bool) -> Matryoshka:
    """A head that has learnt nothing: raw prefixes, or those of PCA."""
    data, head = cached(name), head_of(depths=exits())
    if start:
        head.start(data.features[data.places(held_out=False)], data.texts)
    return head


@torch.no_grad()
def vectors(head: Matryoshka, name: str, depth: int = 0) -> Vectors:
    """What a head makes of a data set at a depth; 0 is the full one."""
    data, held = cached(name), cached(name).places(held_out=True)
    if depth:
        exit_at, number = head.exits[str(depth)], head.depths.index(depth)
        held_out, test = exit_at(data.rows[held][:, number]), exit_at(data.test_rows[:, number])
    else:
        held_out, test = data.features[held], data.test_features
    return Vectors(head.image_vectors(held_out), head.image_vectors(test), head.text_vectors(data.texts))


@torch.no_grad()
def accuracy_at(head: Matryoshka, name: str, size: int, depth: int = 0) -> float:
    """Top-1 accuracy in percent on test images."""
    return accuracy(vectors(head, name, depth).test_logits(head, size), cached(name).test_labels)


def measure() -> list[Finding]:
    runs = [(name, seed) for name in DATASETS for seed in SEEDS]
    sizes = head_of().sizes
    raw, rotated = ({name: fresh(name, start) for name in DATASETS} for start in (False, True))
    learnt = {run: trained(*run) for run in runs}
    table = {
        size: (
            [accuracy_at(raw[name], name, size) for name, _ in runs],
            [accuracy_at(rotated[name], name, size) for name, _ in runs],
            [accuracy_at(learnt[name, seed], name, size) for name, seed in runs],
        )
        for size in sizes
    }
    return [
        _sizes_finding(table),
        _smaller_finding(table),
        _depth_finding(raw, learnt, runs),
        _cascade_finding(learnt, runs, sizes),
        _retrieval_finding(learnt, runs, sizes),
    ]


SETTING = f"{', '.join(DATASETS)}; {len(SEEDS)} seeds; class names as texts, accuracy on test images"
Runs = Sequence[tuple[str, int]]


def beyond_noise(value: Value) -> bool:
    """Whether a number lies above 0 by more than two standard errors."""
    return value.error is not None and value.value > 2 * value.error


def share_of(passed: Sequence[bool]) -> Verdict:
    """ "carries over" if all passed, "in part" if some did."""
    return "carries over" if all(passed) else "in part" if any(passed) else "does not"


def _sizes_finding(table: dict[int, tuple[list[float], list[float], list[float]]]) -> Finding:
    full = max(table)
    values: list[Value] = []
    for size, (raw, rotated, learnt) in table.items():
        values += [over(f"{size} of {full} coordinates, raw", raw), over("PCA", rotated), over("learnt map", learnt)]
    cut = [size for size in table if size < full]
    over_raw = [difference(f"learnt minus raw, {size}", table[size][2], table[size][0]) for size in cut]
    over_pca = [difference(f"learnt minus PCA, {size}", table[size][2], table[size][1]) for size in cut]
    passed = [*map(beyond_noise, over_raw), *map(beyond_noise, over_pca)]
    return Finding(
        "Prefixes of a learnt map are better than raw prefixes and than PCA of the same size",
        "figure of the released logs",
        f"{SETTING}; the map learns from three quarters of the training images, {EPOCHS} epochs",
        (*values, *over_raw, *over_pca),
        share_of(passed),
        f"Beyond two standard errors the learnt map is better than raw prefixes at {sum(map(beyond_noise, over_raw))}, "
        f"and than PCA at {sum(map(beyond_noise, over_pca))} of {len(cut)} sizes below the full one.",
    )


def _smaller_finding(table: dict[int, tuple[list[float], list[float], list[float]]]) -> Finding:
    full = max(table)
    clip = table[full][0]
    drops = {size: difference(f"{size} coordinates minus CLIP's {full}", table[size][2], clip) for size in table}
    equal = min((size for size, drop in drops.items() if drop.value >= -TOLERANCE), default=full)
    factor = full / equal
    verdict: Verdict = "carries over" if factor >= 14 else "in part" if factor >= 2 else "does not"
    return Finding(
        "Vectors up to 14 times smaller classify as well as full ones",
        "abstract",
        f"{SETTING}; as well means within {TOLERANCE:g} point of CLIP's full vectors, on average",
        (
            Value("smallest such size", equal, None, "coordinates"),
            Value("times smaller", factor, None, ""),
            *drops.values(),
        ),
        verdict,
        f"{equal} of {full} coordinates of the learnt map are as accurate as CLIP's vectors, {factor:g} times fewer. "
        "The map learns from labels, and so it may gain what a smaller size loses.",
    )


def _depth_finding(raw: dict[str, Matryoshka], learnt: dict[tuple[str, int], Matryoshka], runs: Runs) -> Finding:
    full_depth, width = backbone().vision_depth, head_of().width
    values, gains, kept = [], [], {}
    for depth in (*exits(), 0):
        fresh_exit = [accuracy_at(raw[name], name, width, depth) for name, _ in runs]
        own_exit = [accuracy_at(learnt[name, seed], name, width, depth) for name, seed in runs]
        words = f"{depth or full_depth} of {full_depth} blocks"
        values += [over(f"{words}, the tower's own projection", fresh_exit), over(f"{words}, learnt exit", own_exit)]
        kept[depth or full_depth] = statistics.fmean(own_exit)
        if depth:
            gains.append(difference(f"learnt exit minus own projection, {words}", own_exit, fresh_exit))
    half = 100 * kept[full_depth // 2] / kept[full_depth]
    return Finding(
        "With exits that learnt, half of the blocks keep most of what all blocks reach",
        "released logs of sentence-transformers",
        f"{SETTING}; blocks are frozen, and every exit has a norm and a projection of its own",
        (*values, *gains, Value(f"accuracy that {full_depth // 2} blocks keep", half)),
        share_of([*map(beyond_noise, gains), half >= 80]),
        f"Learnt exits are better than the tower's own projection beyond two standard errors at "
        f"{sum(map(beyond_noise, gains))} of {len(gains)} depths, and half of the blocks keep {half:.0f} % of the "
        f"accuracy, where the log has {LOGGED_HALF:.0f} % of another score.",
    )


def _cascade_finding(learnt: dict[tuple[str, int], Matryoshka], runs: Runs, sizes: Sequence[int]) -> Finding:
    answered, whole, cost = [], [], []
    for name, seed in runs:
        data, head = cached(name), learnt[name, seed]
        own, held = vectors(head, name), data.labels[data.places(held_out=True)]
        held_logits = [head.logits(own.held_out, own.texts, size) for size in sizes]
        scales = [best_scale(logits, held) for logits in held_logits]
        limits = thresholds([(c * logits).softmax(-1) for c, logits in zip(scales, held_logits, strict=True)], held)
        tested = [(c * own.test_logits(head, size)).softmax(-1) for c, size in zip(scales, sizes, strict=True)]
        found = cascade(tested, limits)
        answered.append(100 * float((found.labels == data.test_labels).float().mean()))
        whole.append(accuracy(tested[-1], data.test_labels))
        cost.append(found.mean_cost(sizes))
    lost = difference("cascade minus full size", answered, whole)
    mean_cost = statistics.fmean(cost)
    passed = [lost.value >= -TOLERANCE, mean_cost <= sizes[-1] / 2]
    return Finding(
        "A cascade of sizes is as accurate as the full size at a fraction of the mean size",
        "released notebook",
        f"{SETTING}; thresholds and a scale of every size from a quarter of the training images",
        (over("cascade", answered), over("full size", whole), lost, over("mean size", cost, "coordinates")),
        share_of(passed),
        f"On average {mean_cost:.0f} of {sizes[-1]} coordinates are read; the accuracy differs by {lost.text}.",
    )


def _retrieval_finding(learnt: dict[tuple[str, int], Matryoshka], runs: Runs, sizes: Sequence[int]) -> Finding:
    short, full = 16, sizes[-1]
    scores: dict[str, list[float]] = {"full": [], "short": [], "both": []}
    macs: dict[str, list[float]] = {"full": [], "short": [], "both": []}
    plans: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
        "full": ((full,), (RETRIEVED,)),
        "short": ((short,), (RETRIEVED,)),
        "both": ((short, full), (SHORTLIST, RETRIEVED)),
    }
    for name, seed in runs:
        data, head = cached(name), learnt[name, seed]
        with torch.no_grad():
            database = head.image_vectors(data.features)
            queries = vectors(head, name).test
        totals = (data.test_labels[:, None] == data.labels).sum(dim=1)
        for key, (steps, shortlists) in plans.items():
            ranked = search(queries, database, steps, shortlists)
            relevant = data.labels[ranked.places] == data.test_labels[:, None]
            scores[key].append(100 * mean_average_precision_at(relevant, totals, RETRIEVED))
            macs[key].append(ranked.mega_macs)
    lost = difference("shortlist and re-ranking minus full size", scores["both"], scores["full"])
    cheaper = statistics.fmean(macs["full"]) / statistics.fmean(macs["both"])
    return Finding(
        f"A shortlist by {short} coordinates, ranked again by all, retrieves as well as a search by all",
        "README of the released code",
        f"images of the training part as database, test images as queries, mAP@{RETRIEVED}, shortlists of {SHORTLIST}; "
        f"{SETTING}",
        (
            over(f"{full} coordinates", scores["full"]),
            over(f"{short} coordinates", scores["short"]),
            over(f"{short}, then {full}", scores["both"]),
            lost,
            Value("times fewer multiply-accumulates", cheaper, None, ""),
        ),
        share_of([lost.value >= -TOLERANCE, cheaper >= 2]),
        f"Re-ranking differs from the full search by {lost.text} of mAP, at {cheaper:.1f} times fewer "
        "multiply-accumulates on these small databases.",
    )
