"""The main job: plan, run with progress on the terminal, print the tables and keep them beside the records."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from trainers.matrix import Plan, open_bench, plan, run_all
from trainers.records import ResultRecord, read_records, write_text
from trainers.run import Run
from trainers.settings import BenchConfig
from trainers.tables import Table, tables


def bench(config: BenchConfig, out: Path, cache: Path, fresh: bool = False) -> list[ResultRecord]:
    """Run everything that is not finished, then print and write the tables.

    Args:
        out: where records and tables go.
        cache: where encoded images are kept.
        fresh: compute finished runs again.
    """
    console, messages = Console(), Console(stderr=True, highlight=False)
    shared = open_bench(config, out, cache)
    todo = plan(config, shared, fresh)
    for problem in (*todo.problems, *todo.notes):
        messages.print(f"note: {problem}", soft_wrap=True)
    reused = f"{len(todo.finished)} finished before and reused (--fresh computes them again), " if todo.finished else ""
    messages.print(
        f"{len(todo.runs)} runs: {reused}{len(todo.to_do)} to do, on {shared.backbone.device}", soft_wrap=True
    )
    with _display(todo, messages) as display:
        records = run_all(todo, shared, display.start, display.epoch, display.done)
    made = tables(records, config.settings.datasets, todo.notes)
    written = write_tables(made, records, out, config.settings.protocol)
    print_tables(made, console)
    messages.print(f"written to {' and '.join(str(path) for path in written)}", soft_wrap=True)
    return records


def report(out: Path, protocol: str | None = None) -> None:
    """Print the tables of all records below a folder as Markdown.

    Raises:
        FileNotFoundError: if there is no record.
    """
    records, problems = read_records(out)
    chosen = [record for record in records if protocol in (None, record.protocol)]
    messages = Console(stderr=True, highlight=False)
    for problem in problems:
        messages.print(f"note: {problem}", soft_wrap=True)
    if not chosen:
        wanted = f" of protocol {protocol!r}" if protocol else ""
        raise FileNotFoundError(f"no finished run{wanted} below {str(out)!r}; `adaptkit bench --out {out}` makes some")
    print("\n".join(table.markdown() for table in tables(chosen)))


def write_tables(made: Sequence[Table], records: Sequence[ResultRecord], out: Path, name: str) -> tuple[Path, Path]:
    """Write the tables as Markdown, and as JSON with the unrounded accuracies of every run."""
    markdown, summary = out / f"{name}.md", out / f"{name}.json"
    keys = ("run_id", "dataset", "method", "label", "shots", "seed", "seconds")
    runs = [
        {
            **{key: getattr(record, key) for key in keys},
            "accuracy": {score.name: score.accuracy for score in record.scores},
        }
        for record in records
    ]
    write_text(markdown, "\n".join(table.markdown() for table in made))
    write_text(summary, json.dumps({"tables": [asdict(table) for table in made], "runs": runs}, indent=1) + "\n")
    return markdown, summary


def print_tables(made: Sequence[Table], console: Console) -> None:
    """Print the tables, each with its notes."""
    for table in made:
        console.print(table.rich())
        for note in table.notes:
            console.print(f"- {note}", highlight=False, style="dim", soft_wrap=True)
        console.print()


class _Display:
    """Progress on a terminal as two bars, elsewhere as one line per finished run."""

    def __init__(self, todo: Plan, messages: Console, progress: Progress):
        self.messages = messages
        self.progress = progress
        self.total = len(todo.to_do)
        self.finished = 0
        self.runs = progress.add_task("runs", total=self.total)
        self.epochs = progress.add_task("", total=1, visible=False)

    def start(self, run: Run) -> None:
        config = run.config
        epochs = None if config.optim.steps else config.optim.epochs  # None: the bar moves without an end in sight
        label = f"{config.dataset} {config.label}" + (f" seed {config.seed}" if run.uses_training else "")
        self.progress.reset(self.epochs, total=epochs, description=label, visible=run.uses_training)

    def epoch(self, run: Run, done: int) -> None:
        self.progress.update(self.epochs, completed=done)

    def done(self, record: ResultRecord) -> None:
        self.finished += 1
        self.progress.update(self.runs, completed=self.finished)
        if not self.messages.is_terminal:
            scores = ", ".join(f"{score.name} {score.accuracy:.2f}" for score in record.scores)
            who = f"{record.dataset} {record.label}" + ("" if record.deterministic else f" seed {record.seed}")
            seconds = sum(record.seconds.values())
            line = f"{self.finished}/{self.total} {who}: {scores} ({seconds:.1f} s)"
            self.messages.print(line, soft_wrap=True)


@contextmanager
def _display(todo: Plan, messages: Console) -> Iterator[_Display]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    progress = Progress(*columns, TimeRemainingColumn(), console=messages, transient=True, disable=not todo.to_do)
    if not messages.is_terminal:
        progress.disable = True
    with progress:
        yield _Display(todo, messages, progress)
