"""FDT's ablations, laid down before any was run: each changes one thing of the default and trains as it does.

Softmax has the temperature at which its effective support, exp(entropy), is that of sparsemax: not a comparison of
sharpness. A weight of 0 is the wrapped method itself.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev

from rich.console import Console

from adaptkit.artefacts.atomic_file import write_text
from trainers.bench.plan import open_bench, plan
from trainers.config.load import load_bench
from trainers.config.overrides import words_as_settings
from trainers.config.values import ConfigError, check_name
from trainers.evaluation.scoring import harmonic_mean
from trainers.protocols.base_to_novel import BASE_TO_NOVEL
from trainers.runs.execute import execute
from trainers.runs.records import ResultRecord

VARIANTS: dict[str, dict[str, object]] = {
    "default": {},
    "weight 0": {"FDT.WEIGHT": 0.0},
    "grounded alone": {"FDT.LOGITS": "grounded"},
    "softmax": {"FDT.ATTENTION": "softmax"},
    "mean": {"FDT.POOLING": "mean"},
    "128 codes": {"FDT.N_CODES": 128},
    "2048 codes": {"FDT.N_CODES": 2048},
    "separate codebooks": {"FDT.CODEBOOK": "separate"},
    "random start": {"FDT.START": "random"},
    "scratch": {"FDT.QUERIES": "scratch", "FDT.START": "random"},
    "rank 0": {"FDT.RANK": 0},
    "rank 16": {"FDT.RANK": 16},
    "weight 0.25": {"FDT.WEIGHT": 0.25},
    "weight 0.5": {"FDT.WEIGHT": 0.5},
    "weight 2": {"FDT.WEIGHT": 2.0},
}


@dataclass(frozen=True)
class Row:
    """One variant: percent, means over data sets and seeds."""

    variant: str
    base: float
    new: float
    h: float  # harmonic means of the runs, averaged
    difference: float  # of h from the default's
    error: float  # standard error of the difference, paired by data set and seed
    trainable_parameters: int


def run_ablations(
    method: str, overrides: Sequence[str], wanted: Sequence[str] | None, out: Path, cache: Path, results: Path
) -> str:
    """Train what is not finished, write ablations.json and ablations.md, and give the table.

    Args:
        overrides: KEY VALUE pairs, as `adaptkit bench` takes them; they hold for every variant.
        wanted: names of variants; the default one is always there. None: all.

    Raises:
        ConfigError: if a variant or a setting is unknown.
    """
    names = list(VARIANTS) if wanted is None else list(dict.fromkeys(["default", *wanted]))
    for name in names:
        check_name("variants", name, sorted(VARIANTS))
    records = {name: variant_records(method, VARIANTS[name], overrides, out, cache, name) for name in names}
    rows = [row(name, records[name], records["default"]) for name in names]
    table = markdown(method, rows, records["default"])
    content = {
        "method": method,
        "overrides": list(overrides),
        "backbone": records["default"][0].backbone,
        "rows": [asdict(entry) for entry in rows],
        "runs": [_run(name, record) for name in names for record in records[name]],
    }
    write_text(results / "ablations.json", json.dumps(content, indent=1) + "\n")
    write_text(results / "ablations.md", table)
    return table


def variant_records(
    method: str, variant: dict[str, object], overrides: Sequence[str], out: Path, cache: Path, name: str
) -> list[ResultRecord]:
    """The records of one variant on all data sets and seeds, by data set and seed."""
    fixed = {"PROTOCOL": BASE_TO_NOVEL.name, "METHODS": [method], "WRAP": ["fdt"]}
    config = load_bench(None, settings={**fixed, **words_as_settings(overrides), **variant})
    if any(run.protocol != BASE_TO_NOVEL.name for run in config.runs):
        raise ConfigError("ablations are base to novel; leave PROTOCOL out")
    bench = open_bench(config, out, cache)
    todo, messages = plan(config, bench), Console(stderr=True, highlight=False)
    records = []
    for number, run in enumerate(todo.runs, start=1):
        record = todo.finished.get(run.run_id) or execute(run, bench)
        records.append(record)
        scores = ", ".join(f"{score.name} {score.accuracy:.2f}" for score in record.scores)
        messages.print(
            f"{name} {number}/{len(todo.runs)} {record.dataset} seed {record.seed}: {scores}", soft_wrap=True
        )
    return records


def row(name: str, records: Sequence[ResultRecord], default: Sequence[ResultRecord]) -> Row:
    """The numbers of one variant beside the default, both in the same order of data sets and seeds."""
    own, theirs = [_h(record) for record in records], [_h(record) for record in default]
    differences = [ours - other for ours, other in zip(own, theirs, strict=True)]
    return Row(
        variant=name,
        base=fmean(record.score("base").accuracy for record in records),
        new=fmean(record.score("new").accuracy for record in records),
        h=fmean(own),
        difference=fmean(differences),
        error=stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else 0.0,
        trainable_parameters=records[0].trainable_parameters,
    )


def _h(record: ResultRecord) -> float:
    return harmonic_mean(record.score("base").accuracy, record.score("new").accuracy)


def _run(name: str, record: ResultRecord) -> dict[str, object]:
    accuracy = {score.name: score.accuracy for score in record.scores}
    return {"variant": name, "dataset": record.dataset, "seed": record.seed, "run_id": record.run_id} | accuracy


def markdown(method: str, rows: Sequence[Row], default: Sequence[ResultRecord]) -> str:
    """The table with its notes."""
    datasets = ", ".join(dict.fromkeys(record.dataset for record in default))
    seeds = ", ".join(str(seed) for seed in sorted({record.seed for record in default}))
    lines = [
        f"#### Ablations of FDT around {method}, base to novel",
        "",
        "| variant | base | novel | H | difference | trainable |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for entry in rows:
        difference = "" if entry.variant == "default" else f"{entry.difference:+.2f} ± {entry.error:.2f}"
        numbers = f"{entry.base:.2f} | {entry.new:.2f} | {entry.h:.2f} | {difference}"
        lines.append(f"| {entry.variant} | {numbers} | {entry.trainable_parameters:,} |")
    notes = (
        f"data sets {datasets}; seeds {seeds}; {default[0].backbone}; percent",
        "H is the mean of the runs' harmonic means; differences from the default are paired by data set and seed, "
        "± one standard error",
    )
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)]) + "\n"
