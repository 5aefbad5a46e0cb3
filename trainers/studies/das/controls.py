"""DAS against its controls: no skipped blocks, and blocks chosen at random, last, first, or greedily.

Each control skips as many blocks as DAS, or none. All are trainings like any other, kept and reused in the same folder
of runs. The result is one row per control: accuracy over data sets and seeds, multiply-accumulates of the image tower,
and its latency in one process.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, pstdev

from rich.console import Console

from adaptkit import FrozenCLIP
from adaptkit.artefacts.atomic_file import write_text
from adaptkit.wrappers import DASConfig
from trainers.bench.jobs import choose_launcher, refuse_failures, run_all
from trainers.bench.plan import Plan, open_bench, plan
from trainers.config.load import load_bench
from trainers.config.overrides import Settings
from trainers.config.settings import BenchConfig
from trainers.evaluation.scoring import harmonic_mean
from trainers.launchers import Event
from trainers.runs.records import ResultRecord
from trainers.studies.das.latency import Latency, measure_latencies

DAS = "das"
RANDOM = "random"
NO_SKIP = "no skip"
DRAWS = 5
CONTROLS: Mapping[str, Settings] = {
    DAS: {"DAS.SELECT": "search"},
    "greedy": {"DAS.SELECT": "greedy"},
    "last": {"DAS.SELECT": "last"},
    "first": {"DAS.SELECT": "first"},
    **{f"{RANDOM} {draw}": {"DAS.SELECT": RANDOM, "DAS.DRAW": draw} for draw in range(DRAWS)},
}
NAME = "das_controls"


@dataclass(frozen=True)
class ControlRow:
    """Results of one way to choose the blocks, over all data sets and seeds."""

    control: str
    skip_vision: int
    skip_text: int
    runs: int
    accuracy: dict[str, float]  # percent by test, the mean over runs; "H", of base and new, if both exist
    std_over_seeds: float  # percentage points; over the seeds' means of the last entry of `accuracy`
    by_run: dict[str, float]  # "data set, seed" -> the last entry of `accuracy`, the mean over its runs
    image_macs: int
    image_macs_as_loaded: int
    trainable_parameters: int
    chosen: dict[str, int]  # skipped blocks of the image tower -> number of runs that skip them
    latency: Latency | None = None


def control_configs(
    config_file: str | None,
    settings: Settings,
    skips: Sequence[int],
    seeds_of_others: Sequence[int] = (),
    names: Sequence[str] = (),
) -> dict[str, BenchConfig]:
    """Make the bench of every control, by its name: "no skip" once, the others for each number of skipped blocks.

    Args:
        settings: settings that hold for all of them.
        seeds_of_others: seeds of all controls but "das" and "no skip"; if empty, the same seeds as theirs.
        names: controls to run beside "no skip"; if empty, all.
    """
    fewer = {"SEEDS": list(seeds_of_others)} if seeds_of_others else {}
    wrapped = {"WRAP": ["das"], **settings}
    none_skipped = {**wrapped, "DAS.SKIP_VISION": 0, "DAS.SKIP_TEXT": 0}
    configs = {NO_SKIP: load_bench(config_file, settings=none_skipped)}
    for skip in skips:
        for name in names or CONTROLS:
            seeds = {} if name == DAS else fewer
            asked = {**wrapped, **seeds, **CONTROLS[name], "DAS.SKIP_VISION": skip}
            configs[f"{name}, {skip} skipped"] = load_bench(config_file, settings=asked)
    return configs


def run_controls(
    config_file: str | None,
    settings: Settings,
    skips: Sequence[int],
    out: Path,
    cache: Path,
    seeds_of_others: Sequence[int] = (),
    names: Sequence[str] = (),
) -> list[ControlRow]:
    """Run what is unfinished, then measure, print and write everything, and return the rows."""
    configs = control_configs(config_file, settings, skips, seeds_of_others, names)
    everything = replace(
        next(iter(configs.values())), runs=tuple(run for config in configs.values() for run in config.runs)
    )
    control_of = {run: name for name, config in configs.items() for run in config.runs}
    messages = Console(stderr=True, highlight=False)
    shared = open_bench(everything, out, cache)
    todo = plan(everything, shared)
    for problem in (*todo.problems, *todo.notes):
        messages.print(f"note: {problem}", soft_wrap=True)
    messages.print(f"{len(todo.runs)} runs of {len(configs)} controls, {len(todo.to_do)} to do", soft_wrap=True)
    launcher = choose_launcher(everything, todo, shared)
    records, failures = run_all(everything, todo, shared, cache, launcher, _Teller(todo, messages).show)
    refuse_failures(failures)
    by_id = {record.run_id: record for record in records}
    of_control: dict[str, list[ResultRecord]] = {}
    for run in todo.runs:
        of_control.setdefault(control_of[run.config], []).append(by_id[run.run_id])
    rows = with_latencies([summarise(name, found) for name, found in of_control.items()], of_control, shared.backbone)
    write_rows(rows, everything, out)
    return rows


class _Teller:
    """Prints one line per finished run."""

    def __init__(self, todo: Plan, messages: Console):
        self.runs, self.messages, self.finished = {run.run_id: run for run in todo.to_do}, messages, 0

    def show(self, event: Event) -> None:
        if event.kind in ("done", "failed"):
            self.finished += 1
            config = self.runs[event.key].config
            options = next(options for name, options in config.wrap if name == "das")
            assert isinstance(options, DASConfig)
            how = f"{options.select}, {options.skip_vision} + {options.skip_text} skipped"
            self.messages.print(
                f"{self.finished}/{len(self.runs)} {config.dataset} {config.label} ({how}) seed {config.seed}: "
                f"{event.kind}",
                soft_wrap=True,
            )


def summarise(control: str, records: Sequence[ResultRecord]) -> ControlRow:
    """Summarise the records of a control as its row, without the latency."""
    names = [score.name for score in records[0].scores]
    has_halves = names == ["base", "new"]
    accuracy = {name: fmean(record.score(name).accuracy for record in records) for name in names}
    if has_halves:
        accuracy["H"] = fmean(_headline(record) for record in records)
    by_seed: dict[int, list[float]] = {}
    by_run: dict[str, list[float]] = {}
    for record in records:
        by_seed.setdefault(record.seed, []).append(_headline(record))
        by_run.setdefault(f"{record.dataset}, {record.seed}", []).append(_headline(record))
    chosen: dict[str, int] = {}
    for record in records:
        blocks = ",".join(map(str, skipped(record, "vision"))) or "none"
        chosen[blocks] = chosen.get(blocks, 0) + 1
    macs = _macs(records[0])
    return ControlRow(
        control=control,
        skip_vision=len(skipped(records[0], "vision")),
        skip_text=len(skipped(records[0], "text")),
        runs=len(records),
        accuracy=accuracy,
        std_over_seeds=pstdev([fmean(values) for values in by_seed.values()]),
        by_run={name: fmean(values) for name, values in by_run.items()},
        image_macs=macs["image"],
        image_macs_as_loaded=macs["image_as_loaded"],
        trainable_parameters=records[0].trainable_parameters,
        chosen=dict(sorted(chosen.items(), key=lambda pair: -pair[1])),
    )


def _headline(record: ResultRecord) -> float:
    """Return H if there are base and new classes, else the mean over the tests; percent."""
    scores = {score.name: score.accuracy for score in record.scores}
    if scores.keys() == {"base", "new"}:
        return harmonic_mean(scores["base"], scores["new"])
    return fmean(scores.values())


def skipped(record: ResultRecord, tower: str) -> tuple[int, ...]:
    """The blocks that a run skips in the given tower."""
    plan_of_tower = (record.architecture or {}).get(tower)
    assert isinstance(plan_of_tower, dict)
    blocks = plan_of_tower["skipped"]
    assert isinstance(blocks, list)
    return tuple(block for block in blocks if isinstance(block, int))


def _macs(record: ResultRecord) -> dict[str, int]:
    macs = (record.architecture or {}).get("macs")
    assert isinstance(macs, dict)
    return {name: count for name, count in macs.items() if isinstance(count, int)}


def with_latencies(
    rows: Sequence[ControlRow], of_control: Mapping[str, Sequence[ResultRecord]], backbone: FrozenCLIP
) -> list[ControlRow]:
    """Add the latency of the image tower to each row, for the control's most frequent architecture."""
    options = {}
    for row in rows:
        record = of_control[row.control][0]
        blocks = next(iter(row.chosen))
        vision = () if blocks == "none" else tuple(int(block) for block in blocks.split(","))
        options[row.control] = settled_options(record, vision)
    latencies = measure_latencies(backbone, options)
    return [replace(row, latency=latencies[row.control]) for row in rows]


def settled_options(record: ResultRecord, vision: tuple[int, ...]) -> DASConfig:
    """The options of a finished run of DAS, set to skip the given blocks of the image tower."""
    wrapped = record.identity["wrap"]
    assert isinstance(wrapped, list)
    given = next(entry[1] for entry in wrapped if isinstance(entry, list) and entry[0] == "das")
    assert isinstance(given, dict)
    text = skipped(record, "text")
    fixed = {
        "select": "given",
        "skip_vision": len(vision),
        "skip_text": len(text),
        "vision_blocks": vision,
        "text_blocks": text,
    }
    return DASConfig(**{**given, **fixed})  # type: ignore[arg-type]


def write_rows(rows: Sequence[ControlRow], config: BenchConfig, out: Path) -> None:
    """Write das_controls.json, the table as Markdown, and the plot."""
    settings = config.settings
    content = {
        "protocol": settings.protocol,
        "suite": settings.suite,
        "methods": settings.methods,
        "datasets": settings.datasets,
        "backbone": config.backbone.name,
        "seeds": sorted({run.seed for run in config.runs}),
        "rows": [asdict(row) for row in rows],
    }
    write_text(out / f"{NAME}.json", json.dumps(content, indent=1) + "\n")
    write_text(out / f"{NAME}.md", table(rows))


def table(rows: Sequence[ControlRow]) -> str:
    """Format the rows as a Markdown table, one line per control."""
    tests = list(rows[0].accuracy)
    lines = [
        f"| blocks | {' | '.join(tests)} | std | image tower, MACs | latency 1, ms | latency 128, ms | trainable "
        "| runs |",
        "|---" * (len(tests) + 7) + "|",
    ]
    for row in rows:
        numbers = " | ".join(f"{row.accuracy[test]:.2f}" for test in tests)
        share = f"{row.image_macs / 1e6:,.1f} M ({100 * row.image_macs / row.image_macs_as_loaded - 100:+.1f} %)"
        times = (
            "– | –"
            if row.latency is None
            else " | ".join(f"{ms:.2f} ({change:+.1f} %)" for ms, change in row.latency.cells)
        )
        lines.append(
            f"| {row.control} | {numbers} | {row.std_over_seeds:.2f} | {share} | {times} | "
            f"{row.trainable_parameters:,} | {row.runs} |"
        )
    return "\n".join(lines) + "\n"
