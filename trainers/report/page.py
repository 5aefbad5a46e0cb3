"""Records and decisions -> one HTML file with everything inside, which asks no network for anything."""

import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from trainers.protocols.registry import EvalProtocol, get_protocol
from trainers.report.decision.reading import Decision
from trainers.report.decision.sections import all_sections
from trainers.report.ledger import ledger
from trainers.report.pieces import asset
from trainers.report.points import Point, figure_groups, points
from trainers.runs.records import Json, ResultRecord, TestScore
from trainers.tables.aggregate import BASELINE, by_label
from trainers.tables.formats import Table
from trainers.tables.layouts import AVERAGE
from trainers.tables.tables import tables

SCRIPTS = ("dom.js", "tables.js", "scales.js", "charts.js", "figures.js", "details.js", "main.js")


def page(records: Sequence[ResultRecord], decisions: Sequence[Decision] = ()) -> str:
    """The page as text: a tab for each decision, and one for each protocol of the records."""
    # "<" cannot end the script element early when it is written as an escape.
    data = json.dumps(page_data(records, decisions), ensure_ascii=False, separators=(",", ":"))
    templates = "\n".join(
        f'<template id="decision-{place}">{all_sections(decision)}</template>'
        for place, decision in enumerate(decisions)
    )
    content = {
        "/*style*/": asset("style.css"),
        "/*script*/": "\n".join(asset(name) for name in SCRIPTS),
        "{title}": html.escape(f"adaptkit: {_counted(records, decisions)}"),
        "{data}": data.replace("<", "\\u003c"),
        "{decisions}": templates,
    }
    # At once, because a mark in the content of another is no mark.
    marks = re.compile("|".join(map(re.escape, content)))
    return marks.sub(lambda found: content[found.group()], asset("page.html"))


def _counted(records: Sequence[ResultRecord], decisions: Sequence[Decision]) -> str:
    if not records:
        return ", ".join(decision.name for decision in decisions)
    return f"{len(records)} runs"


def page_data(records: Sequence[ResultRecord], decisions: Sequence[Decision] = ()) -> dict[str, Json]:
    """What the page shows, as JSON: every number is computed here, and the page only draws."""
    names = _ClassNames()
    runs: list[Json] = [_run(record, names) for record in records]
    rows = ledger(records)
    groups: list[Json] = []
    words: dict[str, Json] = {}
    for group in figure_groups(records):
        first = group[0]
        labelled = {**by_label(group), **by_label(group, tell_shots=False)}
        protocol = get_protocol(first.protocol)
        words |= _words(protocol)
        overall, by_dataset = averages_first(tables(group, layout="paper"))
        source = f" from {first.dataset}" if protocol.layout == "sources" else ""
        own: list[Json] = [
            {**asdict(row), "seeds": list(row.seeds), "why": list(row.why)}
            for row in rows
            if (row.protocol, row.suite, row.backbone) == (first.protocol, first.suite, first.backbone)
        ]
        groups.append(
            {
                "title": protocol.title + source,
                "protocol": first.protocol,
                "pair": list[Json](protocol.harmonic) if protocol.harmonic else None,
                "places": "data set" if protocol.tests else "test",
                "suite": first.suite,
                "backbone": first.backbone,
                "weights": str(first.identity["weights"])[:12],
                "precision": first.identity["precision"],
                "datasets": list[Json](sorted({record.dataset for record in group})),
                "runs": len(group),
                "tables": [_table(table, labelled) for table in overall],
                "dataset_tables": [_table(table, labelled) for table in by_dataset],
                "points": [_point(point) for point in points(group)],
                "ledger": own,
            }
        )
    return {
        "baseline": BASELINE,
        "finished": max((record.finished for record in records), default=""),
        "decisions": [{"title": one.name, "kind": _kind(one)} for one in decisions],
        "groups": groups,
        "words": words,
        "runs": runs,
        "classnames": names.lists,
    }


def _kind(decision: Decision) -> str:
    """What a tab says below its title."""
    if decision.adapter is not None:
        return f"{decision.adapter.label}, {len(decision.adapter.classnames)} classes"
    if decision.suggestions is not None:
        return "suggestions"
    return "an adapter" if decision.summary is None else "a judgement"


def _words(protocol: EvalProtocol) -> dict[str, Json]:
    """What the page calls the measures of a protocol's figures; its only test goes by the name of what it measures."""
    if len(protocol.tests) == 1:
        return dict.fromkeys(protocol.tests, protocol.metric)
    return dict(protocol.tests)


def averages_first(made: Sequence[Table]) -> tuple[list[Table], list[Table]]:
    """What stands above the figures, and the rows of single data sets below them.

    A table that ends in averages is parted: the averages keep its notes. One without averages is an overview already.
    """
    overall: list[Table] = []
    by_dataset: list[Table] = []
    for table in made:
        averages = [number for number, row in enumerate(table.rows) if row[0].startswith(AVERAGE)]
        if not averages or len(averages) == len(table.rows):
            overall.append(table)
            continue
        singles = [number for number in range(len(table.rows)) if number not in averages]
        overall.append(table.with_rows(averages))
        by_dataset.append(replace(table.with_rows(singles), notes=()))
    return overall, by_dataset


class _ClassNames:
    """Lists of class names, each kept once however many tests share it."""

    def __init__(self) -> None:
        self.lists: list[Json] = []
        self._places: dict[tuple[str, ...], int] = {}

    def place(self, names: tuple[str, ...]) -> int:
        if names not in self._places:
            self._places[names] = len(self.lists)
            self.lists.append(list[Json](names))
        return self._places[names]


def _table(table: Table, labelled: Mapping[str, Sequence[ResultRecord]]) -> Json:
    """A table with the runs behind each of its rows."""
    content: dict[str, Json] = json.loads(json.dumps(asdict(table)))
    return {**content, "runs": [_row_runs(row, labelled) for row in table.rows]}


def _row_runs(row: Sequence[str], labelled: Mapping[str, Sequence[ResultRecord]]) -> Json:
    own = next((labelled[cell] for cell in row[:2] if cell in labelled), ())
    here = [record for record in own if record.dataset == row[0]]
    return [record.run_id for record in here or own]


def _point(point: Point) -> Json:
    bins: list[Json] = [[one.images, one.correct, round(one.confidence, 3)] for one in point.bins]
    return {**asdict(point), "seeds": list(point.seeds), "run_ids": list(point.run_ids), "bins": bins}


def _run(record: ResultRecord, names: _ClassNames) -> Json:
    identity = {key: record.identity.get(key) for key in ("options", "wrap", "optim", "views", "templates")}
    return {
        "id": record.run_id,
        "protocol": record.protocol,
        "suite": record.suite,
        "dataset": record.dataset,
        "label": record.label,
        "shots": record.shots,
        "seed": None if record.deterministic else record.seed,
        "backbone": record.backbone,
        "pretrained": record.pretrained,
        "weights": str(record.identity["weights"])[:12],
        "precision": record.identity["precision"],
        "settings": {key: value for key, value in identity.items() if value},
        "augmentation": record.augmentation,
        "epochs": record.epochs,
        "steps": record.steps,
        "train_items": record.train_items,
        "parameters": record.trainable_parameters,
        "final_loss": record.final_loss,
        "seconds": dict(record.seconds),
        "peak_memory_mb": record.peak_memory_mb,
        "versions": dict(record.versions),
        "hardware": dict(record.hardware),
        "finished": record.finished,
        "notes": list(record.notes),
        "metric": record.metric,
        "scores": [_score(score, names) for score in record.scores],
    }


def _score(score: TestScore, names: _ClassNames) -> Json:
    return {
        "name": score.name,
        "metrics": dict(score.metrics),
        "correct": score.correct,
        "total": score.total,
        "interval": None if score.interval is None else list(score.interval),
        "items_hash": score.items_hash[:12],
        "classnames": names.place(score.classnames),
        "per_class": [None if value is None else round(value, 1) for value in score.per_class],
    }
