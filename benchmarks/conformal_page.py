"""The generated parts of docs/how_sure.md, from benchmarks/results/conformal_suite.json."""

import json
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from benchmarks.timing import RESULTS

Row = Mapping[str, Any]
DIVISIONS = {
    "own": "one folder, divided at random, calibrated on folds",
    "suite": "the suite's division, calibrated on folds",
    "halves": "calibrated on half of the test images, tested on the other",
}
KINDS = {
    ("lac", "images"): "LAC",
    ("aps", "images"): "APS",
    ("aps_randomised", "images"): "APS, randomised",
    ("lac", "classes"): "LAC of each class",
}
WAYS = {
    "folds": "five folds, `train --calibrate`",
    "temperature": "five folds, a temperature for each",
    "ten": "ten folds",
    "careful": "five folds, the largest of their thresholds",
    "val": "the val part, `calibrate --part val`",
}
MOST_ERRORS = 2.0


def _content(name: str = "conformal_suite") -> dict[str, Any]:
    content: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return content


def coverage_section() -> str:
    """Covered share and size of sets by data set and division, over methods and seeds, and how many runs keep it."""
    content = _content()
    rows: Sequence[Row] = content["rows"]
    methods = list(dict.fromkeys(row["method"] for row in rows))
    text = [
        f"Promised: {100 * content['coverage']:g} %. Means over {len(methods)} methods "
        f"({', '.join(f'`{name}`' for name in methods)}) and {len(content['seeds'])} seeds, with up to "
        f"{content['shots']} shots; in brackets the classes in a set. The last column counts the runs whose LAC sets "
        "are within two standard errors of the promise.",
    ]
    for division, words in DIVISIONS.items():
        here = [row for row in rows if row["division"] == division]
        heads = ["data set", "classes", "held out", *KINDS.values(), "kept"]
        lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
        for name in dict.fromkeys(row["dataset"] for row in here):
            own = [row for row in here if row["dataset"] == name]
            cells = [_cell(own, kind) for kind in KINDS]
            held = sorted({row["held_out_images"] for row in own})
            many = f"{held[0]}" if len(held) == 1 else f"{held[0]} to {held[-1]}"
            lines.append(f"| {name} | {own[0]['classes']} | {many} | {' | '.join(cells)} | {_kept(own)} |")
        text += ["", f"**{words[0].upper()}{words[1:]}**", "", *lines]
    return "\n".join(text)


def _set_of(row: Row, kind: tuple[str, str]) -> Mapping[str, Any]:
    return next(one for one in row["sets"] if (one["score"], one["coverage_of"]) == kind)


def _cell(rows: Sequence[Row], kind: tuple[str, str]) -> str:
    found = [_set_of(row, kind) for row in rows]
    return f"{100 * fmean(one['covered'] for one in found):.1f} % ({fmean(one['mean_size'] for one in found):.1f})"


def _kept(rows: Sequence[Row]) -> str:
    lac = [_set_of(row, ("lac", "images")) for row in rows]
    near = [abs(one["covered"] - one["promised"]) <= MOST_ERRORS * one["standard_error"] for one in lac]
    return f"{sum(near)} of {len(near)}"


def ways_section() -> str:
    """How far the coverage of an unstable training is from the promise, by where its held-out images come from."""
    content = _content("conformal_ways")
    rows: Sequence[Row] = content["rows"]
    trainings = len({(row["dataset"], row["seed"]) for row in rows})
    lines = [
        f"`{content['method']}` with {content['steps']} steps and up to {content['shots']} shots of "
        f"{', '.join(dict.fromkeys(row['dataset'] for row in rows))} in one folder, {trainings} trainings; errors are "
        "standard errors of test and held-out images together.",
        "",
        "| held-out images | coverage, least to most | farthest off | within two errors | classes in a set |",
        "|---|---|---|---|---|",
    ]
    for way, words in WAYS.items():
        own = [row for row in rows if row["way"] == way]
        covered = [100 * row["covered"] for row in own]
        off = [(row["covered"] - content["coverage"]) / row["standard_error"] for row in own]
        near = sum(abs(one) <= MOST_ERRORS for one in off)
        lines.append(
            f"| {words} | {min(covered):.1f} to {max(covered):.1f} % | {max(off, key=abs):+.1f} errors | "
            f"{near} of {len(own)} | {fmean(row['mean_size'] for row in own):.1f} |"
        )
    return "\n".join(lines)


def error_section() -> str:
    """Calibration error before and after by method and division, and how well unknown classes are told."""
    rows: Sequence[Row] = _content()["rows"]
    heads = ["method", "temperature", *(f"{division}: before, after" for division in DIVISIONS), "unknown classes"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for name in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == name]
        errors = [_errors([row for row in own if row["division"] == division]) for division in DIVISIONS]
        least, most = min(row["temperature"] for row in own), max(row["temperature"] for row in own)
        known = [row["unknown_auroc"] for row in own if row["unknown_auroc"] is not None]
        told = f"{fmean(known):.2f}" if known else "bound to its classes"
        lines.append(f"| `{name}` | {least:.2f} to {most:.2f} | {' | '.join(errors)} | {told} |")
    return "\n".join(lines)


def _errors(rows: Sequence[Row]) -> str:
    before, after = (fmean(row["ece"][which] for row in rows) for which in ("before", "after"))
    return f"{before:.1f} %, {after:.1f} %"
