"""The plan of a bench, printed and not run: what there is to do, what is there already, how long it may take."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from trainers.checkpoints import CHECKPOINTS
from trainers.environment import hardware
from trainers.estimates import Estimates, spell
from trainers.matrix import Plan, open_bench, plan
from trainers.records import read_records
from trainers.run_data import Bench
from trainers.run_identity import Run
from trainers.run_jobs import count_workers
from trainers.settings import BenchConfig

UNKNOWN = "unknown"


@dataclass
class Cell:
    """The runs of one method on one data set with as many shots."""

    runs: list[Run] = field(default_factory=list)
    finished: int = 0
    begun: int = 0  # that a checkpoint is there of
    known: list[float] = field(default_factory=list)  # estimated seconds of those to do
    unknown: int = 0  # of those to do, without an estimate


def dry_run(config: BenchConfig, out: Path, cache: Path, fresh: bool = False) -> None:
    """Print what `bench` would do; nothing is written."""
    console, messages = Console(highlight=False), Console(stderr=True, highlight=False)
    shared = open_bench(config, out, cache)
    todo = plan(config, shared, fresh)
    for problem in (*todo.problems, *todo.notes):
        messages.print(f"note: {problem}", soft_wrap=True)
    cells = plan_cells(todo, Estimates(read_records(out)[0], hardware(shared.backbone.device)))
    console.print(_table(cells))
    workers = count_workers(config, len(todo.to_do), shared.backbone.device)
    for line in (*_summary(todo, cells.values(), workers), _encoded(todo, shared)):
        console.print(f"- {line}", soft_wrap=True)


def plan_cells(todo: Plan, estimates: Estimates) -> dict[tuple[str, str, int], Cell]:
    """(data set, method with its wrappers, shots) -> its runs, in the plan's order."""
    cells: dict[tuple[str, str, int], Cell] = {}
    for run in todo.runs:
        shots = run.config.shots if run.uses_training else 0
        cell = cells.setdefault((run.config.dataset, run.config.label, shots), Cell())
        cell.runs.append(run)
        if run.run_id in todo.finished:
            cell.finished += 1
            continue
        cell.begun += not todo.fresh and any((run.folder / CHECKPOINTS).glob("*.safetensors"))
        seconds = estimates.seconds(run)
        if seconds is None:
            cell.unknown += 1
        else:
            cell.known.append(seconds)
    return cells


def _table(cells: dict[tuple[str, str, int], Cell]) -> Table:
    table = Table(title="Plan", title_justify="left", box=None, header_style="bold")
    for name in (
        "data set",
        "method",
        "shots",
        "seeds",
        "tests",
        "finished",
        "begun",
        "to do",
        "time",
    ):
        table.add_column(name)
    for (dataset, method, shots), cell in cells.items():
        first = cell.runs[0]
        seeds = ",".join(str(run.config.seed) for run in cell.runs) if first.uses_training else "any"
        to_do = len(cell.runs) - cell.finished
        time = "–" if not to_do else UNKNOWN if cell.unknown else spell(sum(cell.known))
        counts = (str(count) if count else "–" for count in (cell.finished, cell.begun, to_do))
        tests = ", ".join(test.name for test in first.task.tests)
        table.add_row(dataset, method, str(shots), seeds, tests, *counts, time)
    return table


def _summary(todo: Plan, cells: Iterable[Cell], workers: int) -> list[str]:
    listed = list(cells)
    known = [seconds for cell in listed for seconds in cell.known]
    unknown = sum(cell.unknown for cell in listed)
    by = "1 worker" if workers == 1 else f"{workers} workers"
    lines = [f"{len(todo.runs)} runs: {len(todo.finished)} finished, {len(todo.to_do)} to do by {by}"]
    if known:
        longest = max(sum(known) / workers, max(known))
        lines.append(f"about {spell(longest)} for {len(known)} of them, by records of earlier runs on this hardware")
    if unknown:
        lines.append(
            f"{UNKNOWN} for {unknown}: no earlier record of the method, data set and backbone on this hardware"
        )
    return lines


def _encoded(todo: Plan, shared: Bench) -> str:
    datasets = {test.dataset.name: test.dataset for run in todo.runs for test in run.task.tests}
    there = [name for name, dataset in datasets.items() if shared.encoder.has_test_features(dataset)]
    return f"test images, encoded once for all runs: {len(there)} of {len(datasets)} data sets are there already"
