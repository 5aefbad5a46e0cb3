"""What an upgrade is worth on test pairs, beside ways that need no training: numbers, words and JSON."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from adaptkit import FrozenCLIP
from adaptkit.features.xbt import Compat
from datasets_fewshot.pairs.pair_set import PairSet
from trainers.evaluation.retrieval import PairScores
from trainers.evaluation.upgrade import OLD_NEW, WAYS, Rows, UpgradeReport, upgrade_report
from trainers.pairs.judging import Looking
from trainers.pairs.upgrade.baselines import baseline_ways
from trainers.pairs.upgrade.encoded import Encoded, PartName, check_parts
from trainers.pairs.upgrade.stages import mapped_rows

XBT = "XBT"
PARTS: tuple[PartName, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class Judged:
    """A report, with what it is a report of."""

    report: UpgradeReport
    slerp_weights: dict[str, float]
    stage2: str
    old: str
    new: str


def judge(compat: Compat, old: FrozenCLIP, pairs: PairSet, looking: Looking, seed: int = 1) -> Judged:
    """Recalls of the test pairs: each model by itself, XBT, the training-free ways, and gradual backfill.

    Args:
        old: the old model, which has to encode its gallery here.
        pairs: the baselines are fitted on their training part, and SLERP's weight is chosen on their validation part.
        seed: of which part of a gallery is encoded again.

    Raises:
        ValueError: if the old model is another one than the upgrade was fitted with, or a part has too little.
    """
    compat.old.check(old, "old")
    check_parts(pairs, PARTS)
    olds, news = Encoded(old, pairs, looking), Encoded(compat.backbone, pairs, looking)
    old_rows: dict[str, Rows] = {part: olds.rows(part) for part in PARTS}
    new_rows: dict[str, Rows] = {part: news.rows(part) for part in PARTS}
    ways, weights = baseline_ways(old_rows, new_rows, olds.captions("val").image)
    ways = {XBT: mapped_rows(compat, news, "test", new_rows["test"]), **ways}
    report = upgrade_report(old_rows["test"], new_rows["test"], ways, olds.captions("test").image, XBT, seed)
    return Judged(report, weights, compat.stage2, str(compat.old), str(compat.new))


def as_text(judged: Judged) -> str:
    """The report for people."""
    return "\n".join(_lines(judged))


def _lines(judged: Judged) -> Iterator[str]:
    report = judged.report
    yield f"old: {judged.old}"
    yield f"new: {judged.new}"
    yield f"{report.images} images, {report.texts} texts; recall in %, text to image @1 @5 @10, image to text @1 @5 @10"
    for name, scores in report.plain.items():
        yield f"{_query(name):36}{_recalls(scores)}"
    yield f"queries of the new model in the old gallery, XBT with stage 2: {judged.stage2}"
    for name, way in report.ways.items():
        gains = " ".join(_gain(way.gain[direction][1]) for direction in WAYS)
        verdict = "compatible" if way.compatible else "not compatible"
        yield f"{name:36}{_recalls(way.scores)}  gain @1 {gains}  {verdict}"
    yield "XBT with a share of the gallery encoded again by the new model"
    for share, scores in report.backfill.items():
        yield f"{100 * share:3.0f} %{'':31}{_recalls(scores)}"
    for name, weight in judged.slerp_weights.items():
        yield f"{name}: weight {weight:g} of the new query; it needs both models at every search"
    yield "compatible: recall@1 above that of the old model by itself, both ways"


def _query(name: str) -> str:
    return f"{name} without a map" if name == OLD_NEW else name


def _recalls(scores: PairScores) -> str:
    return " ".join(f"{value:5.1f}" for way in WAYS for value in getattr(scores, way).recall.values())


def _gain(value: float | None) -> str:
    return "    -" if value is None else f"{value:+5.2f}"


def as_json(judged: Judged, folder: Path) -> str:
    """The report for programs."""
    return json.dumps({"upgrade": str(folder), **asdict(judged)}, indent=1, allow_nan=False)
