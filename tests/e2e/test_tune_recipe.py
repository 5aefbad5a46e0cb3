"""`adaptkit tune-recipe`: a grid on validation images, read back as a user would."""

import importlib.util
import json
from pathlib import Path

import pytest

from datasets_fewshot import FewShotDataset
from tests.helpers.synthetic import NAMES, synthetic_dataset
from trainers.cli import main

GRID = ["--grid", "OPTIM.LR=0.0001,0.01", "--grid", "OPTIM.WEIGHT_DECAY=0,0.1"]
SHORT = ["--shots", "2", "--device", "cpu", "OPTIM.EPOCHS", "20"]


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Four class folders of ten images each, in a working folder of the test's own."""
    source = synthetic_dataset(tmp_path / "source", train=10)
    for item in source.split.train:
        place = tmp_path / "photos" / NAMES[item.label] / Path(item.path).name
        place.parent.mkdir(parents=True, exist_ok=True)
        source.path(item).rename(place)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "photos"


def tune(*words, method="taskres", data="photos"):
    return main(["tune-recipe", method, "--data", str(data), *words])


def test_the_grid_leaves_a_table_a_picture_and_the_words_of_the_best(photos, capsys):
    assert tune(*GRID, "--seeds", "1,2", *SHORT) == 0
    printed = capsys.readouterr()
    folder = photos.parent / "photos-taskres-recipe"
    content = json.loads((folder / "recipe.json").read_text())
    means = [row["mean"] for row in content["rows"]]
    assert len(means) == 4
    assert all(len(row["accuracies"]) == 2 for row in content["rows"])
    assert content["best"] == content["rows"][means.index(max(means))]["settings"]
    words = " ".join(word for pair in content["best"].items() for word in pair)
    assert f"the best: {words}" in printed.out
    assert "8 trainings of taskres, side by side" in printed.err
    assert "no test image was looked at" in (folder / "recipe.md").read_text()
    assert (folder / "recipe.csv").read_text().startswith("OPTIM.LR,OPTIM.WEIGHT_DECAY,accuracy,std,loss\n0.0001,0,")
    has_matplotlib = importlib.util.find_spec("matplotlib") is not None  # not among what tests need
    assert (folder / "recipe.svg").is_file() == has_matplotlib
    assert tune(*GRID, "--json", *SHORT) == 0  # into the same folder
    assert json.loads(capsys.readouterr().out)["seeds"] == [1]


def test_the_picture_has_the_settings_as_its_axes(photos):
    pytest.importorskip("matplotlib")
    assert tune(*GRID, *SHORT) == 0
    drawn = (photos.parent / "photos-taskres-recipe" / "recipe.svg").read_text()
    assert "<svg" in drawn
    assert "<!-- OPTIM.LR -->" in drawn


def test_no_test_image_is_read(photos, monkeypatch):
    read, load = set(), FewShotDataset.load

    def noted(self, item):
        read.add((self, item.path))
        return load(self, item)

    monkeypatch.setattr(FewShotDataset, "load", noted)
    assert tune(*GRID, *SHORT) == 0
    (dataset,) = {dataset for dataset, _ in read}
    tested = {item.path for item in dataset.split.test}
    assert tested
    assert not tested & {path for _, path in read}


def test_a_point_that_diverges_is_missing_and_stops_no_other(photos, capsys):
    assert tune("--grid", "OPTIM.LR=1e38,0.01", *SHORT, method="clip_adapter") == 0
    rows = json.loads((photos.parent / "photos-clip_adapter-recipe" / "recipe.json").read_text())["rows"]
    assert rows[0]["accuracies"] == [None]
    assert rows[0]["mean"] is None
    assert rows[1]["mean"] is not None
    assert "a training diverged" in capsys.readouterr().out
    assert tune("--grid", "OPTIM.LR=1e38,1e37", *SHORT, "--out", "other", method="clip_adapter") == 2
    assert "diverged at every point" in capsys.readouterr().err


def test_other_settings_and_other_methods_go_one_by_one(photos, capsys):
    assert tune("--grid", "OPTIM.BATCH_SIZE=2,4", *SHORT) == 0  # two loops of one
    assert tune("--grid", "LINEAR_PROBE.HALVINGS=0,2", "--shots", "2", method="linear_probe") == 0
    assert "L-BFGS" in (photos.parent / "photos-linear_probe-recipe" / "recipe.md").read_text()
    assert tune("--grid", "CLIP_LORA.R=1,2", "--shots", "1", "OPTIM.STEPS", "2", method="clip_lora") == 0
    assert "2 trainings of clip_lora, one by one" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "there is no grid"),
        (["--grid", "OPTIM.LR"], "KEY=VALUE"),
        (["--grid", "OPTIM.LR=0.1,,0.2"], "KEY=VALUE"),
        (["--grid", "OPTIM.LR=0.1,0.10"], "OPTIM.LR has the value 0.10 twice"),
        (["--grid", "OPTIM.LR=0.1", "--grid", "OPTIM.LR=0.2"], "OPTIM.LR is set twice"),
        (["--grid", "OPTIM.LR=0.1", "OPTIM.LR", "0.2"], "OPTIM.LR is set twice"),
        (["--grid", "OPTIM.RATE=0.1"], "OPTIM.RATE"),
        (["--grid", "OPTIM.LR=fast"], "OPTIM.LR"),
        (["--grid", "OPTIM.LR=-1"], "OPTIM.LR"),
        (["--grid", "OPTIM.LR=" + ",".join(f"0.{n:04d}" for n in range(1, 1026))], "1024 are the most"),
        (["--grid", "OPTIM.LR=0.1", "--out", "photos"], "holds no recipe"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_trained(photos, capsys, words, said):
    assert tune(*words) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert len(error.splitlines()) == 1


def test_methods_and_data_that_have_no_recipe_are_refused(photos, capsys):
    assert tune(*GRID, method="zero_shot") == 2
    assert "zero_shot" in capsys.readouterr().err
    assert tune(*GRID, data="nowhere") == 2
    assert "nothing at 'nowhere'" in capsys.readouterr().err
    assert tune("--grid", "OPTIM.LR=0.1,0.2", "--device", "cpu", data="emoji_activities") == 2
    assert "emoji_activities has no validation images" in capsys.readouterr().err
