"""Token merging and pruning on the embedded suite: accuracy against multiply-accumulates, and measured latency.

Latencies want a quiet machine, so they are read from benchmarks/results/token_merging.json, which
`python -m benchmarks.token_merging` writes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit import ClassSet, Support, class_weights, create_method, load_backbone
from adaptkit.layers.macs import image_lengths, image_shape, tower_macs
from adaptkit.towers.block import run_last_block
from adaptkit.towers.shortening import Matching, Rows, rows_at, run_shortened
from adaptkit.towers.vision import embed_patches
from adaptkit.wrappers import DASConfig
from adaptkit.wrappers.das.stand_ins import read_gates
from benchmarks.seed_systems import suite as suites
from benchmarks.seed_systems.findings import Finding, Value, Verdict, difference, over
from benchmarks.timing import RESULTS
from benchmarks.token_merging import AS_LOADED, Variant, as_loaded, shortened, skipping

MOST_IMAGES = 100  # test images of a data set, evenly spread over all of them
IMAGES_PER_PASS = 64
RS = (1, 2, 3, 4, 5)
R = 4  # of the comparisons: two thirds of the multiply-accumulates
PUBLISHED_SPEED = 511 / 309  # images a second of a ViT-B/16 with r = 13 and without, on a V100
PUBLISHED_LOSS = 84.57 - 82.60  # points on ImageNet, the same
CELLS, OBJECT = 3, 12  # cells a side and pixels of the object, in the task of places
SHOTS, SEEDS = 8, (1, 2, 3)


# Towers


@dataclass
class RandomDropping:
    """Drops as many patches as merging merges, drawn at random for each image."""

    counts: tuple[int, ...]
    protected: int
    active: bool = True
    proportional: bool = False

    def __call__(self, layer: int, rows: Rows, q: Tensor, k: Tensor) -> Rows:
        n = rows.x.shape[1]
        draws = torch.rand(rows.x.shape[0], n - self.protected)
        kept = draws.argsort(dim=1)[:, : self.left(layer, n) - self.protected].sort(dim=1).values + self.protected
        kept = torch.cat([torch.arange(self.protected).expand(len(kept), -1), kept], dim=1)
        nothing = kept[:, :0]
        return Rows(rows_at(rows.x, kept), None, (*rows.steps, Matching(n, kept, nothing, nothing)))

    def left(self, layer: int, n: int) -> int:
        return n - min(self.counts[layer], (n - self.protected) // 2)


def dropping(r: int) -> Variant:
    tower = suites.backbone().require_vit_blocks("the benchmark")
    drop = RandomDropping((r,) * tower.depth, tower.n_prefix)
    view = suites.backbone().with_towers(vision=replace(tower, shortening=drop))
    return Variant(f"random dropping, r={r}", view, tower_macs(image_shape(view), behind=image_lengths(view)))


def smaller(side: int) -> Variant:
    """The tower for smaller images, with interpolated positions."""
    view = load_backbone("adaptkit-mini", image_size=side)
    return Variant(f"images of {side} pixels", view, tower_macs(image_shape(view)))


def distilled(count: int) -> Variant:
    """DAS with the blocks and stand-ins that were distilled for this model on images of its own pre-training."""
    backbone = suites.backbone()
    gates = read_gates("adaptkit-mini", backbone, backbone.vision_depth)
    blocks = tuple(sorted(gates.topk(count).indices.tolist()))
    config = DASConfig(
        select="given",
        skip_vision=count,
        vision_blocks=blocks,
        skip_text=0,
        encoder="vision",
        init="distilled",
        stand_ins="adaptkit-mini",
        skip_bottleneck_vision=48,
        kept_bottleneck_vision=16,
    )
    method = create_method("zero_shot", backbone, ["one"], wrap=[("das", config)]).eval()
    method.prepare(Support(torch.zeros(1, 3, 48, 48), torch.zeros(1, dtype=torch.int64)))
    architecture = method.architecture()
    assert architecture is not None
    return Variant(f"DAS, {count} blocks skipped, distilled", method.innermost.backbone, architecture.macs["image"])


# Accuracy


@cache
def examples(name: str) -> tuple[Tensor, Tensor, Tensor]:
    """Test images (N, 3, 48, 48) and labels (N,) of a data set, and class weights (C, D)."""
    data = suites.suite(name)
    places = torch.linspace(0, len(data.test.labels) - 1, min(MOST_IMAGES, len(data.test.labels))).long()
    items = [data.test.items[place] for place in places]
    with torch.no_grad():
        weights = class_weights(suites.backbone(), data.classes)
    return suites.images_of(data.test.dataset, items), data.test.labels[places], weights


@torch.no_grad()
def features(variant: Variant, images: Tensor) -> Tensor:
    """Features (N, D) of images (N, 3, 48, 48), which a tower for smaller ones sees smaller."""
    size = variant.view.preprocess_cfg.image_size
    if tuple(images.shape[-2:]) != tuple(size):
        images = F.interpolate(images, size, mode="bicubic", antialias=True)
    return torch.cat([variant.view.encode_image(part) for part in images.split(IMAGES_PER_PASS)])


def accuracies(variant: Variant) -> list[float]:
    """Zero-shot accuracy of every data set."""
    found = []
    for name in suites.ALL:
        images, labels, weights = examples(name)
        torch.manual_seed(0)  # of random dropping
        found.append(suites.accuracy(variant.view.logits(features(variant, images), weights), labels))
    return found


# Where something is: a small object on a plain ground, in one of nine cells


@cache
def places() -> tuple[Tensor, Tensor]:
    """Images (N, 3, 48, 48) of an object somewhere in a cell, and the numbers of the cells (N,)."""
    torch.manual_seed(0)
    objects = torch.cat([examples(name)[0] for name in suites.EMOJI])
    images, labels = [], torch.randint(CELLS**2, (len(objects),))
    for picture, label in zip(F.interpolate(objects, OBJECT, mode="area"), labels.tolist(), strict=True):
        side = picture.shape[-1] * 4
        canvas = picture.new_zeros(3, side, side) + picture[:, :1, :1]
        room = side // CELLS - OBJECT
        top, left = (side // CELLS * cell + int(torch.randint(room + 1, ())) for cell in divmod(label, CELLS))
        canvas[:, top : top + OBJECT, left : left + OBJECT] = picture
        images.append(canvas)
    return torch.stack(images), labels


def place_accuracies(variant: Variant) -> list[float]:
    """Accuracy of a linear probe of the places in held-out fifths of the images."""
    images, labels = places()
    found, fold = features(variant, images), torch.arange(len(labels)) % 5
    cells = ClassSet(tuple(f"cell {number}" for number in range(CELLS**2)))
    parts = [(fold != each, fold == each) for each in range(5)]
    return [probe(cells, found[train], labels[train], found[test], labels[test]) for train, test in parts]


def probe(classes: ClassSet, x: Tensor, labels: Tensor, tested: Tensor, right: Tensor) -> float:
    """Accuracy of a linear probe of features x (N, D) on others (M, D)."""
    method = create_method("linear_probe", suites.backbone(), classes)
    method.prepare(Support(x, labels))
    return suites.accuracy(method.logits(tested), right)


# Rules


def rule(gain: Value, least: float = 0.0) -> bool:
    """Whether a gain is more than two standard errors above `least`."""
    assert gain.error is not None
    return gain.value > least + 2 * gain.error


def all_or_some(holds: Sequence[bool]) -> Verdict:
    return "carries over" if all(holds) else "in part" if any(holds) else "does not"


def told(gains: Sequence[Value]) -> str:
    """Which differences are more than two standard errors from zero, in a sentence."""

    def words(gain: Value) -> str:
        assert gain.error is not None
        size = "above 0" if gain.value > 0 else "below 0"
        return f"{gain.what}: {size if abs(gain.value) > 2 * gain.error else 'not told apart from 0'}"

    return "By more than two standard errors: " + "; ".join(map(words, gains)) + "."


# Findings


def measure() -> list[Finding]:
    whole, merged = as_loaded(suites.backbone()), {r: shortened(suites.backbone(), r=r) for r in RS}
    found = {AS_LOADED: accuracies(whole)} | {merged[r].name: accuracies(merged[r]) for r in RS}
    return [
        *latency_findings(),
        sweep_finding(whole, merged, found),
        baselines_finding(whole, merged[R], found),
        proportional_finding(merged[R], found),
        schedules_finding(whole, merged[3], found),
        lower_half_finding(),
        grid_finding(),
        fold_finding(found[AS_LOADED]),
        training_finding(whole, merged[R]),
        Finding(
            "Merging gradually before a language model keeps its captions with a fraction of the visual tokens",
            "abstract of SimVLG",
            "It needs a language model and captions; the schedule and the averages are tested on their own.",
            (),
            "not tested",
            "No language model is part of the embedded suite.",
        ),
    ]


def latency_findings() -> list[Finding]:
    """Latencies from the file that `python -m benchmarks.token_merging` writes."""
    content = json.loads((RESULTS / "token_merging.json").read_text(encoding="utf-8"))
    setting = (
        f"{content['hardware']['threads']} CPU threads, towers in turn; speed over the tower as loaded, errors over "
        "rounds."
    )
    large = speeds_of(content["rows"], "ViT-B-16-quickgelu")
    small = speeds_of(content["rows"], "adaptkit-mini")
    at_13 = large["r=13", 64].value
    verdict: Verdict = "carries over" if at_13 >= 0.9 * PUBLISHED_SPEED else "in part" if at_13 >= 1.1 else "does not"
    holds = {batch: rule(small[f"r={R}", batch], 1.0) for batch in (1, 64)}
    return [
        Finding(
            f"A ViT-B/16 with r = 13 encodes {PUBLISHED_SPEED:.2f} times as many images a second",
            "released logs, on a V100",
            f"Random weights, {setting}",
            tuple(large.values()),
            verdict,
            f"With batches of 64 it is {at_13:.2f} times; 90 % of the published factor carries over, 1.1 times does in "
            "part.",
        ),
        Finding(
            f"The embedded model, of 37 tokens, is faster with r = {R} too",
            "ours",
            setting,
            tuple(small.values()),
            all_or_some(list(holds.values())),
            " ".join(
                f"With batches of {batch} it is {'' if faster else 'not '}faster." for batch, faster in holds.items()
            ),
        ),
    ]


def speeds_of(rows: Sequence[Mapping[str, Any]], backbone: str) -> dict[tuple[str, int], Value]:
    """Speeds over the tower as loaded, by tower and batch."""
    return {
        (row["tower"], row["batch"]): over(
            f"{row['tower']}, batch {row['batch']} ({row['macs_percent']:.0f} % of the MACs)", row["speed"], "times"
        )
        for row in rows
        if row["backbone"] == backbone and row["tower"] != AS_LOADED
    }


def sweep_finding(whole: Variant, merged: Mapping[int, Variant], found: Mapping[str, list[float]]) -> Finding:
    losses = {
        r: difference(
            f"change with r={r} ({merged[r].share(whole):.0f} % of the MACs)",
            found[merged[r].name],
            found[AS_LOADED],
        )
        for r in RS
    }
    content = json.loads((RESULTS / "token_merging.json").read_text(encoding="utf-8"))
    published = next(row["macs_percent"] for row in content["rows"] if row["tower"] == "r=13")
    near = min(RS, key=lambda r: abs(merged[r].share(whole) - published))
    loss = -losses[near].value
    verdict: Verdict = (
        "carries over" if loss <= PUBLISHED_LOSS else "in part" if loss <= 2 * PUBLISHED_LOSS else "does not"
    )
    return Finding(
        f"Without training, accuracy falls by {PUBLISHED_LOSS:.2f} points at {published:.0f} % of the MACs",
        "released logs, ViT-B/16 with r = 13 on ImageNet",
        f"Zero-shot on all {len(suites.ALL)} data sets, at most {MOST_IMAGES} test images each; errors over data sets.",
        (over("accuracy as loaded", found[AS_LOADED]), *losses.values()),
        verdict,
        f"r={near} has the nearest share of MACs and loses {loss:.1f} points; up to twice the published loss counts as "
        "in part.",
    )


def baselines_finding(whole: Variant, merged: Variant, found: Mapping[str, list[float]]) -> Finding:
    others = [dropping(R), smaller(40), skipping(suites.backbone(), (2, 3)), distilled(2)]
    gains = [
        difference(
            f"merging minus {other.name} ({other.share(whole):.0f} % of the MACs)",
            found[merged.name],
            accuracies(other),
        )
        for other in others
    ]
    trivial = [rule(gain) for gain in gains[:2]]
    return Finding(
        "Merging loses less than random dropping and smaller images at about the same cost",
        "ours",
        f"Zero-shot on all data sets, r = {R} at {merged.share(whole):.0f} % of the MACs; errors over data sets. DAS, "
        "which skips blocks, stands beside it: with nothing in their place, and with stand-ins that were distilled for "
        "this model.",
        (over("accuracy with merging", found[merged.name]), *gains),
        all_or_some(trivial),
        told(gains),
    )


def proportional_finding(merged: Variant, found: Mapping[str, list[float]]) -> Finding:
    options: list[dict[str, Any]] = [{"proportional": False}, {"proportional": False, "average": "plain"}]
    gains = [
        difference(
            "minus " + ", ".join(f"{key}={value}" for key, value in each.items()),
            found[merged.name],
            accuracies(shortened(suites.backbone(), r=R, **each)),
        )
        for each in options
    ]
    return Finding(
        "Attention in proportion to sizes keeps accuracy in a tower that was trained without merging",
        "released code",
        f"Zero-shot on all data sets, r = {R}: the default minus each other; errors over data sets. Plain averages "
        "without sizes are SimVLG's.",
        tuple(gains),
        all_or_some([rule(gain) for gain in gains[:1]]),
        told(gains),
    )


def schedules_finding(whole: Variant, constant: Variant, found: Mapping[str, list[float]]) -> Finding:
    others = [shortened(suites.backbone(), r=3, inflect=inflect) for inflect in (-1.0, 1.0)]
    gains = [
        difference(
            f"constant minus {other.name} ({other.share(whole):.0f} % of the MACs)",
            found[constant.name],
            accuracies(other),
        )
        for other in others
    ]
    worse = [gain.error is not None and gain.value < -2 * gain.error for gain in gains]
    return Finding(
        "A constant schedule is not worse than a falling or a rising one",
        "ours",
        f"Zero-shot on all data sets, r = 3 on average, constant at {constant.share(whole):.0f} % of the MACs; errors "
        "over data sets.",
        tuple(gains),
        all_or_some([not each for each in worse]),
        told(gains),
    )


@torch.no_grad()
def lower_half_finding() -> Finding:
    """Which half of the image the patches come from that attention keeps."""
    variant = shortened(suites.backbone(), mode="prune", keep=(0.5,), grid_stride=0)
    tower = variant.tower
    assert tower.shortening is not None
    shares = []
    for name in suites.ALL:
        x = embed_patches(tower, examples(name)[0][:IMAGES_PER_PASS])
        rows = run_shortened(tower.blocks, tower.shortening, x, {}, run_last_block)
        patches = rows.steps[0].kept[:, tower.n_prefix :] - tower.n_prefix
        shares.append(100 * float((patches >= tower.n_patches // 2).float().mean()))
    share = over("share of the kept patches in the lower half", shares)
    holds = rule(share, 50.0)
    return Finding(
        "Pruning by attention keeps mostly the lower part of the image",
        "abstract of FEATHER, of a language model with rotary positions",
        "The class token's attention at the third of six blocks, half of the patches kept, no grid; errors over data "
        "sets.",
        (share,),
        "carries over" if holds else "does not",
        f"The share is {'' if holds else 'not '}more than two standard errors above half. The class token of a CLIP "
        "tower has no rotary positions.",
    )


def grid_finding() -> Finding:
    patches = suites.backbone().require_vit_blocks("the benchmark").n_patches
    grid = shortened(suites.backbone(), mode="prune", keep=(0.25,))
    kept = grid.tower.shortening.left(2, patches + 1) - 1  # type: ignore[union-attr]
    # As many patches as with the grid, which rounding down must not take one of.
    alone = shortened(suites.backbone(), mode="prune", keep=((kept + 0.5) / patches,), grid_stride=0)
    scores = {variant: place_accuracies(variant) for variant in (as_loaded(suites.backbone()), grid, alone)}
    labels = (AS_LOADED, "with the grid", "by attention alone")
    values = [over(f"place, {label}", found) for label, found in zip(labels, scores.values(), strict=True)]
    gains = [
        difference("place, grid minus attention alone", scores[grid], scores[alone]),
        difference("zero-shot, grid minus attention alone", accuracies(grid), accuracies(alone)),
    ]
    return Finding(
        "A uniform grid among the kept patches helps where the place of things counts",
        "abstract of FEATHER",
        f"{kept} of {patches} patches kept behind one block, either way. Place: a linear probe says in which of nine "
        "cells a small emoji lies, five folds; zero-shot: all data sets.",
        (*values, *gains),
        "carries over" if rule(gains[0]) else "does not",
        told(gains),
    )


def fold_finding(loaded: Sequence[float]) -> Finding:
    prune, fold = (accuracies(shortened(suites.backbone(), mode=mode)) for mode in ("prune", "fold"))
    gain = difference("folding minus dropping", fold, prune)
    return Finding(
        "Folding dropped patches into kept ones loses less than dropping them",
        "ours",
        "Zero-shot on all data sets, default stages; errors over data sets.",
        (difference("change by dropping", prune, loaded), difference("change by folding", fold, loaded), gain),
        "carries over" if rule(gain) else "does not",
        told([gain]),
    )


def training_finding(whole: Variant, merged: Variant) -> Finding:
    """Few shots learnt on all tokens or on the fewer, and tested on the fewer."""
    through, not_through, without = [], [], []
    for name in suites.EMOJI:
        data = suites.suite(name)
        images, labels, _ = examples(name)
        on_all, on_fewer = features(whole, images), features(merged, images)
        for seed in SEEDS:
            chosen = data.train.shots(SHOTS, seed)
            shots = suites.images_of(data.train.dataset, [data.train.items[place] for place in chosen])
            own, of_all = data.train.labels[chosen], features(whole, shots)
            through.append(probe(data.classes, features(merged, shots), own, on_fewer, labels))
            not_through.append(probe(data.classes, of_all, own, on_fewer, labels))
            without.append(probe(data.classes, of_all, own, on_all, labels))
    gain = difference("learnt on the fewer tokens minus learnt on all", through, not_through)
    return Finding(
        "What is learnt through merging is better under merging than what is learnt without",
        "ours",
        f"A linear probe of at most {SHOTS} shots on the emoji sets, {len(SEEDS)} seeds, tested with r = {R}; errors "
        "are over sets and seeds.",
        (over("learnt and tested on all tokens", without), over("learnt on all, tested on fewer", not_through), gain),
        "carries over" if rule(gain) else "does not",
        told([gain]),
    )
