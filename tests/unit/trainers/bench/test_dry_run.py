import pytest

import trainers.bench.plan
from datasets_fewshot import registry
from tests.helpers.synthetic import synthetic_dataset
from trainers.bench.estimates import Estimates, planned_steps, spell
from trainers.bench.plan import open_bench, plan
from trainers.cli import main
from trainers.config.load import load_bench
from trainers.runs.environment import hardware
from trainers.runs.records import read_records

WORDS = ["--methods", "zero_shot,coop", "--shots", "2", "--seeds", "1,2", "--device", "cpu", "OPTIM.EPOCHS", "2"]


@pytest.fixture
def noise(monkeypatch, tiny_clip, tmp_path):
    """One data set of four classes, a tiny backbone, and a working folder of the test's own."""
    loader = lambda root, **options: synthetic_dataset(tmp_path / "images")  # noqa: E731
    monkeypatch.setattr(registry, "_LOADERS", {"noise": ("mini", loader)})
    monkeypatch.setattr(trainers.bench.plan, "load_backbone", lambda *args, **options: tiny_clip)
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown(capsys, words):
    assert main(["bench", *words, "--dry-run"]) == 0
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def sentence(lines, text):
    return ["-", *text.split()] in lines


def test_a_dry_run_writes_nothing_and_does_not_know_the_time(noise, capsys):
    lines = shown(capsys, WORDS)
    assert ["noise", "coop", "2", "1,2", "base,", "new", "–", "–", "2", "unknown"] in lines
    assert ["noise", "zero_shot", "0", "any", "base,", "new", "–", "–", "1", "unknown"] in lines
    assert sentence(lines, "3 runs: 0 finished, 3 to do by 1 worker")
    assert sentence(lines, "test images, encoded once for all runs: 0 of 1 test sets are there already")
    assert not (noise / "runs").exists()
    assert not (noise / "cache" / "features").exists()


def test_what_is_finished_begun_and_encoded_is_shown(noise, capsys):
    assert main(["bench", *WORDS]) == 0
    folder = next((noise / "runs" / "base_to_novel" / "noise").glob("coop*seed2*"))
    (folder / "record.json").unlink()
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "000000001-00.safetensors").touch()
    capsys.readouterr()
    lines = shown(capsys, WORDS)
    coop = next(line for line in lines if line[:2] == ["noise", "coop"])
    assert coop[6:9] == ["1", "1", "1"]
    assert coop[-1] == "s"
    assert next(line for line in lines if line[:2] == ["noise", "zero_shot"])[6:] == ["1", "–", "–", "–"]
    assert any(line[1:3] == ["about", "0"] for line in lines)
    assert sentence(lines, "test images, encoded once for all runs: 1 of 1 test sets are there already")


def test_only_test_images_that_runs_share_are_counted(noise, monkeypatch, capsys):
    def painted(root, train_families="", test_family=""):
        return synthetic_dataset(noise / f"images {test_family}", "noise")

    monkeypatch.setattr(registry, "_LOADERS", {"noise": ("mini", painted)})
    words = [
        "--protocol",
        "domain_generalization",
        "--datasets",
        "noise",
        "--seeds",
        "1",
        "--device",
        "cpu",
        "--shots",
        "2",
    ]
    families = ["--targets", "oil,chalk", "DATA.FAMILIES", "[ink]", "MAPLE.N_CTX", "2", "MAPLE.CTX_INIT", "''"]
    lines = shown(capsys, [*words, "--methods", "zero_shot,maple", *families])
    assert sentence(lines, "test images, encoded once for 1 of the runs: 0 of 2 test sets are there already")
    lines = shown(capsys, [*words, "--methods", "maple", *families])
    assert sentence(
        lines, "test images are encoded by every run: its method changes the image tower, or looks at patches"
    )


def test_estimates_scale_with_the_steps_and_stay_on_their_hardware(noise):
    assert main(["bench", *WORDS]) == 0
    records, _ = read_records(noise / "runs")
    (record,) = [record for record in records if (record.method, record.seed) == ("coop", 1)]
    config = load_bench(overrides=["METHODS", "[coop]", "SHOTS", "[2]", "SEEDS", "[1]", "OPTIM.EPOCHS", "20"])
    shared = open_bench(config, noise / "runs", noise / "cache")
    (run,) = plan(config, shared).runs
    assert planned_steps(run) == 10 * record.steps
    times = record.seconds
    expected = sum(times.values()) + 9 * times["train"]
    assert Estimates([record], hardware(shared.backbone.device)).seconds(run) == pytest.approx(expected)
    assert Estimates([record], {"device": "another"}).seconds(run) is None


def test_times_are_spelt_in_the_unit_that_fits():
    assert [spell(seconds) for seconds in (4.2, 89, 600, 12600)] == ["4 s", "89 s", "10 min", "3.5 h"]
