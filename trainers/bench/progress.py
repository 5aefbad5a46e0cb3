"""What a bench tells while it runs, on stderr: which runs are on, how long is left, and first tables on the way."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from trainers.bench.estimates import Estimates, spell
from trainers.bench.plan import Plan
from trainers.launchers import Event
from trainers.runs.identity import Run
from trainers.runs.records import ResultRecord, read_record
from trainers.tables.aggregate import spell_shots
from trainers.tables.layouts import AVERAGE
from trainers.tables.tables import tables

SAY_EVERY = 30.0  # seconds between two lines on what is running, where there is no terminal
ESTIMATE_EVERY = 1.0  # seconds between two estimates of what is left


class Display:
    """Progress on a terminal, as one bar of all runs and one per active training, or lines elsewhere.

    Args:
        first: the methods whose runs come first; a data set's table is shown when these are done, and when all are.
        workers: number of workers that share the runs.
    """

    def __init__(self, todo: Plan, messages: Console, progress: Progress, first: Sequence[str], workers: int):
        self.todo, self.messages, self.progress, self.first, self.workers = todo, messages, progress, first, workers
        self.runs = {run.run_id: run for run in todo.to_do}
        self.left = dict(self.runs)
        self.records = dict(todo.finished)
        self.estimates = Estimates(todo.finished.values(), None)
        self.all = progress.add_task("runs", total=len(self.runs))
        self.active: dict[str, list[Run]] = {}  # By the name of their training.
        self.bars: dict[str, TaskID] = {}
        self.said_at = self.estimated_at = time.monotonic()

    def show(self, event: Event) -> None:
        """Show what a worker says."""
        run = self.runs[event.key]
        what = training_name(run)
        if event.kind == "start":
            self.active.setdefault(what, []).append(run)
            self._bar(what, run)
        elif event.kind == "epoch" and what in self.bars:
            self.progress.update(self.bars[what], completed=event.epochs)
        elif event.kind in ("done", "failed"):
            self._settle(run, what, event.kind == "done")
        now = time.monotonic()
        if not self.messages.is_terminal and now - self.said_at > SAY_EVERY:
            self.said_at = now
            self.messages.print(self._summary(), soft_wrap=True)

    def _bar(self, what: str, run: Run) -> None:
        if run.uses_training and what not in self.bars:
            epochs = None if run.config.optim.steps else run.config.optim.epochs  # None draws a bar without an end.
            self.bars[what] = self.progress.add_task(what, total=epochs)
        if what in self.bars and len(self.active[what]) > 1:
            self.progress.update(self.bars[what], description=_spell_active(what, self.active[what]))

    def _settle(self, run: Run, what: str, is_done: bool) -> None:
        self.left.pop(run.run_id, None)
        self.active[what] = [other for other in self.active.get(what, []) if other is not run]
        if not self.active[what]:
            del self.active[what]
            if what in self.bars:
                self.progress.remove_task(self.bars.pop(what))
        if is_done:
            record = self.records[run.run_id] = read_record(run.folder)
            self.estimates.add(record)
        if not self.messages.is_terminal:
            self._say(run, is_done)
        self.progress.update(self.all, completed=len(self.runs) - len(self.left))
        if time.monotonic() - self.estimated_at > ESTIMATE_EVERY:
            self.estimated_at = time.monotonic()
            self.progress.update(self.all, description=f"runs, {self._time_left()}")
        self._preview(run)

    def _say(self, run: Run, is_done: bool) -> None:
        who = f"{len(self.runs) - len(self.left)}/{len(self.runs)} {training_name(run)}"
        who += f", seed {run.config.seed}" if run.uses_seed else ""
        if not is_done:
            self.messages.print(f"{who}: failed", soft_wrap=True)
            return
        record = self.records[run.run_id]
        scores = ", ".join(f"{score.name} {record.value(score.name):.2f}" for score in record.scores)
        self.messages.print(f"{who}: {scores} ({sum(record.seconds.values()):.1f} s)", soft_wrap=True)

    def _summary(self) -> str:
        """ "running: dtd coop, 16 shots, seeds 1, 2, 3; 12 of 420 runs done; about 4 min left"."""
        running = " and ".join(_spell_active(what, runs) for what, runs in self.active.items()) or "nothing"
        done = len(self.runs) - len(self.left)
        return f"running: {running}; {done} of {len(self.runs)} runs done; {self._time_left()}"

    def _time_left(self) -> str:
        """How long the runs that are left may take, by those of their methods that are finished."""
        times = [self.estimates.seconds_anywhere(run) for run in self.left.values()]
        known = [seconds for seconds in times if seconds is not None]
        unknown = len(times) - len(known)
        if not known:
            return "no estimate yet" if unknown else "nothing left"
        about = f"about {spell(max(sum(known) / self.workers, max(known)))} left"
        return f"{about}, without {unknown} runs of methods that have not run yet" if unknown else about

    def _preview(self, run: Run) -> None:
        """Show the table of a run's data set if it was the last of those that make it readable, or of all."""
        dataset = run.config.dataset
        here = [other for other in self.todo.runs if other.config.dataset == dataset]
        early = [other for other in here if other.config.method in self.first]
        if not self.left:
            return  # the whole table comes at once
        is_last = not any(other.run_id in self.left for other in here)
        is_first = run in early and len(early) > 1 and not any(other.run_id in self.left for other in early)
        shown = here if is_last else early if is_first else []
        records = [self.records[other.run_id] for other in shown if other.run_id in self.records]
        if len({record.label for record in records}) > 1:
            self.progress.console.print(first_table(records, dataset, self.messages.width))


def first_table(records: Sequence[ResultRecord], dataset: str, width: int) -> object:
    """The table of one data set for a terminal: no average, and no notes."""
    table = tables(records, [dataset])[0]
    singles = [number for number, row in enumerate(table.rows) if not row[0].startswith(AVERAGE)]
    return replace(table.with_rows(singles), title=f"{dataset}, so far").rich(width)


def training_name(run: Run) -> str:
    """What is trained, without the seed."""
    shots = f", {spell_shots(run.config.shots)}" if run.uses_training else ""
    return f"{run.config.dataset} {run.config.label}{shots}"


def _spell_active(what: str, runs: Sequence[Run]) -> str:
    if not runs[0].uses_seed:
        return what
    return f"{what}, seed{'s' if len(runs) > 1 else ''} {', '.join(str(run.config.seed) for run in runs)}"


@contextmanager
def display(todo: Plan, messages: Console, first: Sequence[str], workers: int) -> Iterator[Display]:
    """Show progress inside the block."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    hidden = not todo.to_do or not messages.is_terminal
    with Progress(*columns, console=messages, transient=True, disable=hidden) as progress:
        yield Display(todo, messages, progress, first, workers)
