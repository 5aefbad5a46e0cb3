"""The main job: plan, run with progress on the terminal, print the tables and write them beside the records."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from adaptkit.artefacts.atomic_file import write_text
from trainers.bench.jobs import choose_launcher, count_workers, refuse_failures, run_all
from trainers.bench.loggers import telling_loggers
from trainers.bench.plan import Plan, open_bench, plan
from trainers.config.settings import BenchConfig
from trainers.launchers import Event
from trainers.runs.identity import Run
from trainers.runs.records import ResultRecord, read_record
from trainers.tables.aggregate import spell_shots
from trainers.tables.tables import Table, tables


def bench(
    config: BenchConfig, out: Path, cache: Path, fresh: bool = False, log: Sequence[str] = ()
) -> list[ResultRecord]:
    """Run everything that is not finished, then print and write the tables.

    Args:
        out: folder of records and tables.
        cache: folder of encoded images.
        fresh: compute finished runs again.
        log: names of experiment trackers.

    Raises:
        LaunchError: if runs are left undone.
        RunsFailedError: if runs failed; the tables of the others are printed first.
    """
    console, messages = Console(), Console(stderr=True, highlight=False)
    shared = open_bench(config, out, cache)
    todo = plan(config, shared, fresh)
    for problem in (*todo.problems, *todo.notes, *todo.data_notes):
        messages.print(f"note: {problem}", soft_wrap=True)
    reused = f"{len(todo.finished)} finished before and reused (--fresh computes them again), " if todo.finished else ""
    workers = count_workers(config, len(todo.to_do), shared.backbone.device)
    shared_by = f", shared by {workers} workers" if workers > 1 else ""
    messages.print(
        f"{len(todo.runs)} runs: {reused}{len(todo.to_do)} to do, on {shared.backbone.device}{shared_by}",
        soft_wrap=True,
    )
    with _display(todo, messages) as display:
        launcher = choose_launcher(config, todo, shared)
        tell = telling_loggers(log, out, todo.to_do, display.show)
        records, failures = run_all(config, todo, shared, cache, launcher, tell)
    if not records:
        refuse_failures(failures)
    made = tables(records, config.settings.datasets, todo.notes)
    written = write_tables(made, records, out, config.settings.protocol)
    print_tables(made, console)
    messages.print(f"written to {' and '.join(str(path) for path in written)}", soft_wrap=True)
    refuse_failures(failures)
    return records


def write_tables(made: Sequence[Table], records: Sequence[ResultRecord], out: Path, name: str) -> tuple[Path, Path]:
    """Write the tables as Markdown, and as JSON with the unrounded main metric of every run."""
    markdown, summary = out / f"{name}.md", out / f"{name}.json"
    keys = ("run_id", "dataset", "method", "label", "shots", "seed", "seconds")
    runs = [
        {
            **{key: getattr(record, key) for key in keys},
            record.metric: {score.name: record.value(score.name) for score in record.scores},
        }
        for record in records
    ]
    write_text(markdown, "\n".join(table.markdown() for table in made))
    write_text(summary, json.dumps({"tables": [asdict(table) for table in made], "runs": runs}, indent=1) + "\n")
    return markdown, summary


def print_tables(made: Sequence[Table], console: Console) -> None:
    """Print the tables, each with its notes."""
    for table in made:
        console.print(table.rich(console.width))
        for note in table.notes:
            console.print(f"- {note}", highlight=False, style="dim", soft_wrap=True)
        console.print()


class _Display:
    """Progress on a terminal, as one bar of all runs and one per active run, or a line per finished run elsewhere."""

    def __init__(self, todo: Plan, messages: Console, progress: Progress):
        self.messages = messages
        self.progress = progress
        self.runs = {run.run_id: run for run in todo.to_do}
        self.finished = 0
        self.all = progress.add_task("runs", total=len(self.runs))
        self.bars: dict[str, TaskID] = {}  # Bars by run id.

    def show(self, event: Event) -> None:
        if event.kind == "start":
            self._start(self.runs[event.key])
        elif event.kind == "epoch" and event.key in self.bars:
            self.progress.update(self.bars[event.key], completed=event.epochs)
        elif event.kind in ("done", "failed"):
            self.finished += 1
            self.progress.update(self.all, completed=self.finished)
            if event.key in self.bars:
                self.progress.remove_task(self.bars.pop(event.key))
            if not self.messages.is_terminal:
                self._say(self.runs[event.key], event.kind == "done")

    def _start(self, run: Run) -> None:
        config = run.config
        if run.uses_training and run.run_id not in self.bars:
            epochs = None if config.optim.steps else config.optim.epochs  # None draws a bar without an end.
            label = f"{config.dataset} {config.label}, {spell_shots(config.shots)}, seed {config.seed}"
            self.bars[run.run_id] = self.progress.add_task(label, total=epochs)

    def _say(self, run: Run, is_done: bool) -> None:
        who = f"{self.finished}/{len(self.runs)} {run.config.dataset} {run.config.label}"
        who += f", {spell_shots(run.config.shots)}" if run.uses_training else ""
        who += f", seed {run.config.seed}" if run.uses_seed else ""
        if not is_done:
            self.messages.print(f"{who}: failed", soft_wrap=True)
            return
        record = read_record(run.folder)
        scores = ", ".join(f"{score.name} {record.value(score.name):.2f}" for score in record.scores)
        self.messages.print(f"{who}: {scores} ({sum(record.seconds.values()):.1f} s)", soft_wrap=True)


@contextmanager
def _display(todo: Plan, messages: Console) -> Iterator[_Display]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    progress = Progress(*columns, TimeRemainingColumn(), console=messages, transient=True, disable=not todo.to_do)
    if not messages.is_terminal:
        progress.disable = True
    with progress:
        yield _Display(todo, messages, progress)
