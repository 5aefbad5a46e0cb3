"""A distribution of somebody else's, built and installed: what it registers works through every door of ours."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.commands import Commands

SAMPLE = Path(__file__).parents[1] / "sample_plugin"
SHORT = ["--protocol", "few_shot", "--shots", "2", "--seeds", "1", "DEVICE", "cpu", "THREADS", "1"]
BROKEN = "the plugin 'broken' of my-methods 0.2 cannot be imported and is left out (ModuleNotFoundError"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages that holds the sample distribution."""
    folder = tmp_path_factory.mktemp("site")
    source = folder / "source"
    for path in SAMPLE.rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            (source / path.relative_to(SAMPLE)).parent.mkdir(parents=True, exist_ok=True)
            (source / path.relative_to(SAMPLE)).write_bytes(path.read_bytes())
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target", str(folder / "installed")]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True)
    return folder / "installed"


@pytest.fixture
def run(site: Path, tmp_path: Path, started: Commands):
    """The command with the sample distribution installed: words -> the finished process."""

    def start(*words: str) -> subprocess.CompletedProcess[str]:
        return started.run(words, tmp_path, {"ADAPTKIT_CACHE": str(tmp_path / "cache")}, [str(site)])

    return start


def test_a_plugin_is_listed_and_one_that_fails_is_named_once(run):
    answer = run("methods")
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr.count(BROKEN) == 1
    assert "memory" in answer.stdout.partition("protocols: ")[2]
    assert "pictures" in answer.stdout.partition("suites of data sets: ")[2]
    cells = [line.split() for line in answer.stdout.splitlines()]
    for row in (["bias", "after"], ["scale", "around"], ["push", "objective"]):
        assert row in [some[:2] for some in cells]
    (row,) = json.loads(run("methods", "bias", "--json").stdout)
    assert row["parameters"] == 100
    checked = run("doctor")
    assert checked.returncode == 2
    assert "my_methods of my-methods 0.2: imported" in checked.stdout
    assert BROKEN in checked.stderr


def test_its_method_and_wrapper_are_trained_saved_and_loaded(run, tmp_path):
    words = ["--datasets", "emoji_activities", "--methods", "bias", "--wrap", "scale"]
    answer = run("bench", *words, *SHORT)
    assert answer.returncode == 0, answer.stderr
    assert "bias+scale" in answer.stdout
    (record,) = (tmp_path / "runs").rglob("record.json")
    content = json.loads(record.read_text(encoding="utf-8"))
    assert content["epochs"] == 2  # as the YAML of the distribution says
    assert content["identity"]["wrap"] == [["scale", {"start": 1.0}]]  # which has no YAML
    assert run("save", str(record.parent), "--out", "adapter").returncode == 0
    shown = run("eval", "adapter", "--data", "emoji_activities")
    assert shown.returncode == 0, shown.stderr
    assert f"{content['scores'][0]['metrics']['accuracy']:.2f} %" in shown.stdout


def test_its_objective_trains_a_method_of_ours(run, tmp_path):
    words = ["--datasets", "emoji_activities", "--methods", "zero_shot,coop", "--objective", "push"]
    answer = run("bench", *words, *SHORT, "OPTIM.EPOCHS", "1")
    assert answer.returncode == 0, answer.stderr
    assert "coop+push" in answer.stdout
    identities = [json.loads(path.read_text())["identity"] for path in (tmp_path / "runs").rglob("record.json")]
    assert [one.get("objective") for one in sorted(identities, key=lambda one: one["method"])] == [
        [["push", {"share": 0.2}]],  # as the YAML of the distribution says
        None,  # Zero-shot learns nothing, so nothing is minimised.
    ]
    refused = run("bench", *words[:2], "--methods", "prograd", "--objective", "push", *SHORT)
    assert refused.returncode == 2
    assert "ProGrad finds its gradients in its own way" in refused.stderr


def test_its_protocol_has_a_table(run, tmp_path):
    words = ["--protocol", "memory", "--datasets", "emoji_activities", "--methods", "zero_shot,coop"]
    answer = run("bench", *words, "OPTIM.EPOCHS", "1", "DEVICE", "cpu", "THREADS", "1")
    assert answer.returncode == 0, answer.stderr
    assert "Memory" in answer.stdout
    assert "learnt images" in (tmp_path / "runs" / "memory.md").read_text()
    (record,) = (tmp_path / "runs" / "memory" / "emoji_activities").glob("coop-2shots-seed1-*/record.json")
    assert json.loads(record.read_text())["scores"][0]["name"] == "learnt"


def test_its_data_set_is_a_suite_of_its_own(run, tmp_path):
    words = ["--suite", "pictures", "--root", str(tmp_path), "--methods", "zero_shot"]
    answer = run("bench", *words, *SHORT)
    assert answer.returncode == 0, answer.stderr
    assert "pictures" in answer.stdout
