"""`adaptkit texts train`: classes learnt from sentences, tested on images, saved as a head."""

import json

import pytest

from adaptkit import load_head
from tests.helpers.synthetic import NAMES, synthetic_dataset
from trainers.cli import main


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with images in folders of classes."""
    drawn = synthetic_dataset(tmp_path / "drawn", train=4, val=1, test=3)
    for item in (*drawn.split.train, *drawn.split.val, *drawn.split.test):
        folder = tmp_path / "photos" / item.classname
        folder.mkdir(parents=True, exist_ok=True)
        (tmp_path / "drawn" / item.path).rename(folder / item.path.replace("/", "_"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_a_head_is_learnt_from_sentences_and_saved(place, capsys):
    assert main(["texts", "train", "--data", "photos", "--out", "mine", "--epochs", "3", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["texts"], result["training_images"]) == (5 * len(NAMES), 0)
    head = load_head("mine")
    image = next((place / "photos").rglob("*.png"))
    (answer,) = head.answers([image])
    assert answer["label"] in {name.replace("_", " ") for name in NAMES} | set(NAMES)
    assert "zero-shot on the same templates" in (place / "mine" / "README.md").read_text(encoding="utf-8")


def test_descriptors_and_images_learn_beside_them(place, capsys):
    (place / "said.json").write_text(json.dumps({NAMES[0]: ["four legs", "a tail"]}), encoding="utf-8")
    words = ["texts", "train", "--data", "photos", "--out", "mine", "--epochs", "2", "--shots", "1"]
    assert main([*words, "--descriptors", "said.json", "--template", "a {}.", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["texts"], result["training_images"]) == (len(NAMES) + 2, len(NAMES))


def test_images_that_learn_are_not_tested_on(place, capsys):
    words = ["texts", "train", "--data", "photos", "--out", "mine", "--shots", "1"]
    assert main([*words, "--part", "all"]) == 2
    assert "--shots learns from" in capsys.readouterr().err
    assert not (place / "mine").exists()
