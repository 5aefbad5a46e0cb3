import io
import itertools
from dataclasses import replace
from types import SimpleNamespace

import pytest
from rich.console import Console

import trainers.bench.progress
from tests.helpers.records import make_record
from trainers.bench.progress import display
from trainers.launchers import Event
from trainers.runs.records import run_folder, write_record

METHODS = ("zero_shot", "coop", "maple")


def planned(tmp_path, datasets=("icons", "emoji")):
    """Runs of three methods, with two seeds where there is one, and their records."""
    runs, records = [], {}
    for dataset, method in itertools.product(datasets, METHODS):
        for seed in (1,) if method == "zero_shot" else (1, 2):
            learns = method != "zero_shot"
            record = replace(make_record(method=method, dataset=dataset, seed=seed), steps=int(learns))
            optim = SimpleNamespace(steps=0, epochs=1, batch_size=32, drop_last=False, step_count=lambda batches: 1)
            config = SimpleNamespace(dataset=dataset, method=method, label=method, shots=16, seed=seed, optim=optim)
            task = SimpleNamespace(train=[0] * 32)
            folder = run_folder(tmp_path, record.identity)
            run = SimpleNamespace(config=config, uses_training=learns, uses_seed=learns, folder=folder, task=task)
            run.run_id, run.identity = record.run_id, {"backbone": record.backbone}
            runs.append(run)
            records[run.run_id] = record
    return SimpleNamespace(runs=tuple(runs), to_do=tuple(runs), finished={}), records


@pytest.fixture
def shown(tmp_path):
    """(methods that come first, [(kind, run)] or a function of the runs) -> what is told on stderr."""

    def show(tell, first=("zero_shot", "coop"), terminal=False):
        todo, records = planned(tmp_path)
        out = io.StringIO()
        messages = Console(file=out, force_terminal=terminal, width=100, highlight=False)
        with display(todo, messages, first, workers=1) as one:

            def told(kind, run, epochs=0):
                if kind == "done":
                    write_record(records[run.run_id], run.folder)
                one.show(Event(kind, run.run_id, epochs))

            tell(told, todo.runs)
        return out.getvalue()

    return show


def all_in_turn(told, runs):
    for run in runs:
        told("start", run)
        told("done", run)


def test_every_run_has_a_line_where_there_is_no_terminal(shown):
    lines = shown(all_in_turn).splitlines()
    numbered = [line for line in lines if line.split("/")[0].isdigit()]
    assert len(numbered) == 10
    assert numbered[0] == "1/10 icons zero_shot: base 50.00, new 50.00 (1.0 s)"
    assert numbered[1].startswith("2/10 icons coop, 16 shots, seed 1: base 50.00")


def test_a_data_set_is_shown_when_its_first_methods_are_done_and_when_all_are(shown):
    text = shown(lambda told, runs: all_in_turn(told, sorted(runs, key=lambda run: run.config.method == "maple")))
    tables = text.split(", so far")[1:]
    assert len(tables) == 3  # two first ones, and the whole one of the data set that is not the last
    assert ["maple" in table.split("/10 ")[0] for table in tables] == [False, False, True]
    assert all("average" not in table for table in tables)


def test_nothing_is_shown_ahead_where_one_method_alone_comes_first(shown):
    text = shown(lambda told, runs: all_in_turn(told, runs[:1]), first=("zero_shot",))
    assert "so far" not in text


def test_a_run_that_failed_is_said_and_leaves_the_others_to_be_shown(shown):
    def tell(told, runs):
        for run in runs[:3]:
            told("start", run)
            told("failed" if run is runs[1] else "done", run)

    text = shown(tell)
    assert "2/10 icons coop, 16 shots, seed 1: failed" in text
    assert text.count("so far") == 1


def test_now_and_then_a_line_says_what_is_running_and_how_long_is_left(shown, monkeypatch):
    monkeypatch.setattr(trainers.bench.progress, "SAY_EVERY", 0.0)

    def tell(told, runs):
        told("start", runs[0])
        told("done", runs[0])
        told("start", runs[1])
        told("start", runs[2])
        told("done", runs[1])

    lines = [line for line in shown(tell).splitlines() if line.startswith("running: ")]
    assert lines[0] == "running: icons zero_shot; 0 of 10 runs done; no estimate yet"
    assert lines[3] == (
        "running: icons coop, 16 shots, seeds 1, 2; 1 of 10 runs done; about 1 s left, without 8 runs of methods that "
        "have not run yet"
    )
    assert lines[4].startswith("running: icons coop, 16 shots, seed 2; 2 of 10 runs done; about 4 s left, without 4 ")


def test_a_terminal_has_bars_and_no_line_for_every_run(shown):
    text = shown(all_in_turn, terminal=True)
    assert "1/10 icons zero_shot: base" not in text
    assert "so far" in text
