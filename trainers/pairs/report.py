"""The report of a training on pairs: before and after, as text and as JSON."""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace

from adaptkit.artefacts.atomic_file import write_text
from trainers.evaluation.retrieval import PairScores, RetrievalScores
from trainers.pairs.diagnosis.report import lines_of_test, tested_as_json
from trainers.pairs.result import TuneRequest, TuneResult

SUMMARY_FILE, TEXT_FILE = "summary.json", "summary.txt"


def in_words(scores: PairScores, guard: float | None) -> str:
    """Scores in one line, such as "recall@1 41.2 % by text, 38.0 % by image, rsum 402.1, guard 63.0 %"."""
    words = (
        f"recall@1 {scores.text_to_image.recall[1]:.1f} % of images by text, {scores.image_to_text.recall[1]:.1f} % of "
        f"texts by image, rsum {scores.rsum:.1f}"
    )
    return words if guard is None else f"{words}, guard {guard:.1f} %"


def summary(result: TuneResult, request: TuneRequest) -> str:
    """The whole report as text."""
    return "\n".join(_lines(result, request))


def _lines(result: TuneResult, request: TuneRequest) -> Iterator[str]:
    counts = ", ".join(f"{count} for {part}" for part, count in result.pairs.items())
    settings = request.settings
    yield f"{settings.method} with {settings.objective} on {request.data}: images {counts}"
    yield f"{'':34}{'before':>9}{'after':>9}{'change':>9}"
    for name, before, after in _rows(result):
        yield f"{name:34}{before:9.1f}{after:9.1f}{after - before:+9.1f}"
    for one in result.tested:
        yield from lines_of_test(one)
    yield f"chosen on validation: alpha {result.alpha:g} on the line from before (0) to after the training (1)"
    for place in result.places:
        guard = "" if place.guard is None else f", guard {place.guard:.1f} %"
        yield f"  alpha {place.alpha:<4g} rsum {place.rsum:.1f}{guard}"
    if result.after.rsum < result.before.rsum:
        yield (
            f"worse than {request.backbone} without training: keep that, train longer (OPTIM.EPOCHS), at another rate "
            "(OPTIM.LR), or with another method"
        )
    if request.guard is None:
        yield "no guard: what was forgotten of other classes was not measured; --guard names a data set"
    if result.captions_cut:
        yield f"{result.captions_cut} captions were longer than the text tower reads and were cut at a clause or a word"
    for note in result.notes:
        yield f"note: {note}"


def _rows(result: TuneResult) -> Iterator[tuple[str, float, float]]:
    directions: tuple[tuple[str, RetrievalScores, RetrievalScores], ...] = (
        ("images by text", result.before.text_to_image, result.after.text_to_image),
        ("texts by image", result.before.image_to_text, result.after.image_to_text),
    )
    for name, before, after in directions:
        for k in before.recall:
            yield f"{name}, recall@{k} (%)", before.recall[k], after.recall[k]
        yield f"{name}, median rank", before.median_rank, after.median_rank
    yield "rsum", result.before.rsum, result.after.rsum
    if result.guard_before is not None and result.guard_after is not None:
        yield "guard, zero-shot accuracy (%)", result.guard_before, result.guard_after


def write_summary(result: TuneResult, request: TuneRequest) -> None:
    """Write the report beside the adapter."""
    settings = request.settings
    content = {
        "data": str(request.data),
        "backbone": request.backbone,
        "method": settings.method,
        "objective": settings.objective,
        "guard": None if request.guard is None else request.guard.name,
        "seed": request.seed,
        **{name: value for name, value in asdict(replace(result, tested=())).items() if name != "folder"},
        "tested": [tested_as_json(one) for one in result.tested],
    }
    write_text(result.folder / SUMMARY_FILE, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_text(result.folder / TEXT_FILE, summary(result, request) + "\n")
