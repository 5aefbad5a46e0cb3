"""The plan of a bench, printed and not run: runs to do, runs that are finished, and an estimate of the time."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from trainers.bench.estimates import Estimates, spell
from trainers.bench.jobs import count_workers
from trainers.bench.plan import Plan, open_bench, plan
from trainers.config.settings import BenchConfig
from trainers.runs.data import Bench
from trainers.runs.environment import hardware
from trainers.runs.identity import Run
from trainers.runs.records import read_records
from trainers.training.checkpoints import CHECKPOINTS

UNKNOWN = "unknown"
MOST_TESTS = 2  # Largest number of test names in a row.


@dataclass
class Cell:
    """The runs of one method on one data set with one number of shots."""

    runs: list[Run] = field(default_factory=list)
    finished: int = 0
    begun: int = 0  # Runs to do that have a checkpoint.
    known: list[float] = field(default_factory=list)  # Estimated seconds of runs to do.
    unknown: int = 0  # Runs to do without an estimate.


def dry_run(config: BenchConfig, out: Path, cache: Path, fresh: bool = False) -> None:
    """Print the plan of `bench`; nothing is written."""
    console, messages = Console(highlight=False), Console(stderr=True, highlight=False)
    shared = open_bench(config, out, cache)
    todo = plan(config, shared, fresh)
    for problem in (*todo.problems, *todo.notes, *todo.data_notes):
        messages.print(f"note: {problem}", soft_wrap=True)
    cells = plan_cells(todo, Estimates(read_records(out)[0], hardware(shared.backbone.device)))
    settings = config.settings
    title = f"Plan: {settings.protocol}, suite {settings.suite}, {shared.backbone.name}"
    console.print(_table(title, cells))
    workers = count_workers(config, len(todo.to_do), shared.backbone.device)
    for line in (*_many_tests(todo), *_summary(todo, cells.values(), workers), _encoded(todo, shared)):
        console.print(f"- {line}", soft_wrap=True)


def plan_cells(todo: Plan, estimates: Estimates) -> dict[tuple[str, str, int], Cell]:
    """Cells by (data set, method with its wrappers, shots), in the plan's order."""
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


def _table(title: str, cells: dict[tuple[str, str, int], Cell]) -> Table:
    table = Table(title=title, title_justify="left", box=None, header_style="bold", padding=(0, 1, 0, 0))
    for name in ("data set", "method", "shots", "seeds", "tests", "finished", "begun", "to do", "time"):
        is_number = name in ("shots", "finished", "begun", "to do")
        table.add_column(name, justify="right" if is_number else "left", no_wrap=is_number, overflow="fold")
    for (dataset, method, shots), cell in cells.items():
        first = cell.runs[0]
        seeds = ",".join(str(run.config.seed) for run in cell.runs) if first.uses_seed else "any"
        to_do = len(cell.runs) - cell.finished
        time = "–" if not to_do else UNKNOWN if cell.unknown else spell(sum(cell.known))
        counts = (str(count) if count else "–" for count in (cell.finished, cell.begun, to_do))
        tests = _test_names(first)
        shown = ", ".join(tests) if len(tests) <= MOST_TESTS else f"{len(tests)} sets"
        table.add_row(dataset, method, str(shots), seeds, shown, *counts, time)
    return table


def _test_names(run: Run) -> tuple[str, ...]:
    return tuple(test.name for test in run.task.tests)


def _many_tests(todo: Plan) -> list[str]:
    """One line for every list of tests that is too long for a row."""
    lists = dict.fromkeys(_test_names(run) for run in todo.runs)
    return [f"tests on {len(names)} sets: {', '.join(names)}" for names in lists if len(names) > MOST_TESTS]


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
    """A line on the test images: how many test sets are encoded already, once for all methods on features."""
    on_features = [run for run in todo.runs if run.consumes == "features"]
    if not on_features:
        return "test images are encoded by every run: its method changes the image tower, or looks at patches"
    datasets = {id(test.dataset): test.dataset for run in on_features for test in run.task.tests}  # Names may repeat.
    there = [dataset for dataset in datasets.values() if shared.encoder.has_test_features(dataset)]
    runs = "all runs" if len(on_features) == len(todo.runs) else f"{len(on_features)} of the runs"
    return f"test images, encoded once for {runs}: {len(there)} of {len(datasets)} test sets are there already"
