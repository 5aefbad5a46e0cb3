"""The command on synthetic images: settings -> run -> record -> table, read back from what it wrote."""

import json

import pytest

from datasets_fewshot import PAPER_DATASETS
from tests.helpers.fake_trees import make_tree


@pytest.fixture(scope="module")
def finished(tmp_path_factory, started):
    """One bench over a fake tree of a paper's data set, run in a process of its own, from another folder."""
    home = tmp_path_factory.mktemp("home")
    layout = PAPER_DATASETS["eurosat"].layouts[0]
    make_tree("eurosat", home / "data", layout, counts=(4, 1, 2))
    words = ["bench", "--suite", "paper", "--root", str(home / "data"), "--datasets", "eurosat", "--shots", "2"]
    words += ["--methods", "zero_shot,coop", "--seeds", "1,2", "--device", "cpu", "OPTIM.EPOCHS", "3"]
    words += ["VIEWS.AUGMENT", "exact"]
    answer = run_adaptkit(started, words, home)
    assert answer.returncode == 0, answer.stderr
    return home, words, answer


def run_adaptkit(started, words, folder):
    return started.run(words, folder, {"ADAPTKIT_CACHE": str(folder / "cache"), "COLUMNS": "100"})


def test_table_agrees_with_the_records(finished):
    home, _, answer = finished
    records = [json.loads(path.read_text()) for path in sorted((home / "runs").glob("*/*/*/record.json"))]
    assert [(record["method"], record["seed"]) for record in records] == [("coop", 1), ("coop", 2), ("zero_shot", 0)]
    base = [record["scores"][0]["metrics"]["accuracy"] for record in records[:2]]
    assert f"{sum(base) / 2:.2f}±" in answer.stdout
    assert all(score["total"] == 10 for record in records for score in record["scores"])
    assert all(record["steps"] == 3 for record in records[:2])


def test_markdown_and_json_say_the_same_as_the_terminal(finished):
    home, _, _ = finished
    summary = json.loads((home / "runs" / "base_to_novel.json").read_text())
    rows = ["| " + " | ".join(row) + " |" for row in summary["tables"][0]["rows"]]
    markdown = (home / "runs" / "base_to_novel.md").read_text().replace("**", "")  # the best are bold
    assert all(row in markdown for row in rows)
    assert {run["method"] for run in summary["runs"]} == {"zero_shot", "coop"}


def test_second_start_computes_nothing(finished, started):
    home, words, first = finished
    answer = run_adaptkit(started, words, home)
    assert answer.returncode == 0, answer.stderr
    assert "3 finished before and reused" in answer.stderr
    assert answer.stdout == first.stdout
