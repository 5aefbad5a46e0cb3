"""The report of a continual training: the matrices of all strategies, and what they say, as text and as JSON."""

import json
from collections.abc import Iterator, Sequence
from statistics import fmean

from adaptkit.artefacts.atomic_file import write_text
from trainers.evaluation.forgetting import average, forgetting, forward_transfer, learning
from trainers.pairs.continual.result import (
    METRICS,
    RECALL,
    ContinualRequest,
    ContinualResult,
    Outcome,
    outcome_to_json,
)

SUMMARY_FILE, TEXT_FILE = "summary.json", "summary.txt"


def row_in_words(outcome: Outcome) -> str:
    """A model in one line, such as "recall@1 41.2, 38.0 %, guard 63.0 %"."""
    recalls = ", ".join(f"{own[RECALL]:.1f}" for own in outcome.scores)
    return f"recall@1 {recalls} %" + ("" if outcome.guard is None else f", guard {outcome.guard:.1f} %")


def measures(result: ContinualResult, name: str, metric: str = RECALL) -> dict[str, float]:
    """What a strategy's matrix says of a metric, and what it did to the guard.

    "average" is over domains at the end; "forgetting", "learning" and "forward_transfer", as `evaluation.forgetting`
    has them, are there for strategies that train in turn, and "guard_change" where there is a guard.
    """
    rows, before = result.strategies[name], result.before
    last = rows[-1] if rows else before
    found = {"average": fmean(own[metric] for own in last.scores)}
    if len(rows) == len(result.domains) > 1:
        matrix = matrix_of(rows, metric)
        found["average"] = average(matrix)
        found["forgetting"] = forgetting(matrix)
        found["learning"] = learning(matrix)
        found["forward_transfer"] = forward_transfer(matrix, [own[metric] for own in before.scores])
    if last.guard is not None and before.guard is not None:
        found["guard_change"] = last.guard - before.guard
    return found


def matrix_of(rows: Sequence[Outcome], metric: str = RECALL) -> list[list[float]]:
    """R[t][d] of a metric, a row for each phase."""
    return [[own[metric] for own in row.scores] for row in rows]


def summary(result: ContinualResult, request: ContinualRequest) -> str:
    """The whole report as text."""
    return "\n".join(_lines(result, request))


def _lines(result: ContinualResult, request: ContinualRequest) -> Iterator[str]:
    settings = next(iter(request.settings.values()))
    yield f"{settings.method} on {len(result.domains)} phases; recall@1 in percent, the mean of both directions"
    width = max(len(domain) for domain in (*result.domains, "after zero-shot")) + 2
    heads = "".join(f"{f'domain {place}':>10}" for place in range(1, len(result.domains) + 1))
    for place, domain in enumerate(result.domains, start=1):
        yield f"domain {place}: {domain}"
    yield f"{'':{width}}{heads}{'guard':>10}"
    yield _row("zero-shot", result.before, width)
    for name, rows in result.strategies.items():
        yield f"{name}:"
        for row in rows:
            yield _row(f"after {row.phase}", row, width)
        said = ", ".join(f"{what.replace('_', ' ')} {value:.1f}" for what, value in measures(result, name).items())
        yield f"  {said}"
        if rows and rows[-1].drift is not None:
            drift = rows[-1].drift
            yield (
                f"  in the last phase images turned by {drift.image_rotation:.1f} degrees, texts by "
                f"{drift.text_rotation:.1f}, a pair's two differed by {drift.deviation:.1f}; angles inside a modality "
                f"changed by {drift.image_reshaping:.1f} and {drift.text_reshaping:.1f}"
            )


def _row(name: str, outcome: Outcome, width: int) -> str:
    cells = "".join(f"{own[RECALL]:10.1f}" for own in outcome.scores)
    return f"{name:{width}}{cells}" + ("" if outcome.guard is None else f"{outcome.guard:10.1f}")


def write_summary(result: ContinualResult, request: ContinualRequest) -> None:
    """Write the report beside the strategies."""
    tune, settings = request.tune, next(iter(request.settings.values()))
    strategies = {
        name: {
            "measures": {metric: measures(result, name, metric) for metric in METRICS},
            "matrices": {metric: matrix_of(rows, metric) for metric in METRICS},
            "phases": [outcome_to_json(row) for row in rows],
        }
        for name, rows in result.strategies.items()
    }
    content = {
        "backbone": tune.backbone,
        "method": settings.method,
        "guard": None if tune.guard is None else tune.guard.name,
        "seed": tune.seed,
        "domains": list(result.domains),
        "before": outcome_to_json(result.before),
        "strategies": strategies,
    }
    write_text(tune.out / SUMMARY_FILE, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_text(tune.out / TEXT_FILE, summary(result, request) + "\n")
