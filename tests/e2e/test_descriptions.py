"""Descriptions through the real command: checked, explained, and inside Tip-Adapter."""

import json

import pytest
from PIL import Image

import adaptkit
from trainers.cli import main

COLOURS = {"red_square": (220, 30, 30), "blue_square": (30, 30, 220), "green_square": (20, 180, 40)}
TEXTS = {"red square": ["a red shape", "warm colour"], "blue square": ["a blue shape"], "green square": ["like grass"]}


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder of nine images in three classes, as the current folder's `photos`."""
    monkeypatch.chdir(tmp_path)
    for name, colour in COLOURS.items():
        for number in range(6):
            path = tmp_path / "photos" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 40), tuple(channel + 3 * number for channel in colour)).save(path)
    (tmp_path / "described.json").write_text(json.dumps(TEXTS))
    return tmp_path / "photos"


@pytest.mark.usefixtures("photos")
def test_a_file_of_descriptors_is_checked_merged_and_asked_for(tmp_path, capsys):
    assert main(["descriptors", "check", "described.json", "--data", "photos"]) == 0
    assert "3 of 3 classes have descriptors, 1.3 on average" in capsys.readouterr().out
    (tmp_path / "other.json").write_text(json.dumps({"red square": [], "unicorn": ["a horn"]}))
    assert main(["descriptors", "check", "other.json", "--data", "photos"]) == 2
    out = capsys.readouterr().out
    assert "missing: 2: blue_square, green_square" in out
    assert "empty: 1: red_square" in out
    assert "extra: 1: unicorn" in out
    words = ["descriptors", "check", "described.json", "other.json", "--data", "photos", "--out", "all.json"]
    assert main(words) == 0
    assert "unicorn" in json.loads((tmp_path / "all.json").read_text())
    assert main(["descriptors", "check", "--data", "icons"]) == 0  # the embedded file
    assert main(["descriptors", "prompt", "red_square"]) == 0
    assert "there is a red square in a photo" in capsys.readouterr().out
    assert main(["descriptors", "check", "nothing.json", "--data", "photos"]) == 2


@pytest.mark.usefixtures("photos")
def test_an_image_is_explained_by_its_descriptors(tmp_path, capsys):
    words = ["train", "classify_by_description", "--data", "photos", "--out", "mine", "--shots", "1"]
    assert main([*words, "CLASSIFY_BY_DESCRIPTION.DESCRIPTORS", "described.json"]) == 0
    capsys.readouterr()
    assert main(["explain", "mine", "photos/red_square/0.png", "--out", "map.png"]) == 0
    out = capsys.readouterr().out
    assert "warm colour (cosine" in out
    assert "score" in out


@pytest.mark.usefixtures("photos")
def test_tip_adapter_stands_on_described_classes(tmp_path):
    words = ["train", "tip_adapter", "--wrap", "descriptions", "--data", "photos", "--out", "mine", "--shots", "1"]
    assert main([*words, "DESCRIPTIONS.FILE", "described.json", "OPTIM.EPOCHS", "1"]) == 0
    (tmp_path / "described.json").unlink()
    method = adaptkit.load(tmp_path / "mine")
    assert "red square, which is a red shape" in method.classes.texts[method.classes.classnames.index("red_square")]
    (prediction,) = method.predict("photos/blue_square/0.png")
    assert prediction.label == "blue_square"
    assert main(["predict", "mine", "photos/blue_square/0.png"]) == 0
