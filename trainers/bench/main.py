"""The main job: plan, run with progress on the terminal, print the tables and write them beside the records."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from adaptkit.artefacts.atomic_file import write_text
from trainers.bench.jobs import choose_launcher, count_workers, refuse_failures, run_all
from trainers.bench.loggers import telling_loggers
from trainers.bench.plan import open_bench, plan
from trainers.bench.progress import display
from trainers.config.settings import BenchConfig
from trainers.runs.records import ResultRecord
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
    with display(todo, messages, config.settings.first, workers) as shown:
        launcher = choose_launcher(config, todo, shared)
        tell = telling_loggers(log, out, todo.to_do, shown.show)
        records, failures = run_all(config, todo, shared, cache, launcher, tell)
    if not records:
        refuse_failures(failures)
    made = tables(records, config.settings.datasets, (*quick_notes(config), *todo.notes))
    written = write_tables(made, records, out, config.settings.protocol)
    print_tables(made, console)
    messages.print(f"written to {' and '.join(str(path) for path in written)}", soft_wrap=True)
    refuse_failures(failures)
    return records


def quick_notes(config: BenchConfig) -> tuple[str, ...]:
    """What readers of a table of a small part of a suite have to know."""
    settings = config.settings
    if not settings.quick:
        return ()
    return (
        f"a quick taste of suite {settings.suite}: {', '.join(settings.methods)} on {', '.join(settings.datasets)}, "
        f"seed {', '.join(map(str, dict.fromkeys(run.seed for run in config.runs)))}; without --quick a bench is whole",
    )


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
