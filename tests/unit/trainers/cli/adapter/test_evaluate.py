"""`adaptkit eval`: among which classes, with which metrics, into which files."""

import json
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

import adaptkit
from trainers.cli import main

NAMES = ("red", "green", "blue", "golden_retriever")
COLOURS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200), "golden_retriever": (200, 200, 30)}


@pytest.fixture(scope="module")
def backbone():
    return adaptkit.load_backbone("adaptkit-mini")


@pytest.fixture(scope="module", params=["zero_shot", "linear_probe"])
def adapter(request, tmp_path_factory, backbone):
    """An adapter that takes other names, and one that is bound to its own."""
    return adaptkit.create_method(request.param, backbone, NAMES).save_pretrained(tmp_path_factory.mktemp("adapter"))


def images(folder, **counts: int):
    """A folder of class folders with so many images each."""
    rng = np.random.default_rng(0)
    for name, count in counts.items():
        place = folder / name
        place.mkdir(parents=True)
        for index in range(count):
            noise = rng.integers(0, 60, (24, 24, 3)) + np.array(COLOURS.get(name, (90, 90, 90)))
            Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(place / f"{name}{index}.png")
    return folder


def run(capsys, *words: object) -> tuple[int, str, str]:
    code = main([*map(str, words), "--part", "all"])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_images_of_one_class_are_answered_among_all_of_the_adapters(adapter, tmp_path, capsys):
    folder = images(tmp_path / "data", blue=6)
    code, text, _ = run(capsys, "eval", adapter, "--data", folder, "--json")
    answer = json.loads(text)
    method = adaptkit.load(adapter)
    right = sum(one.label == "blue" for one in method.predict(sorted(folder.rglob("*.png"))))
    assert code == 0
    assert (answer["among"], answer["classes"], answer["correct"]) == ("adapter", 4, right)
    assert [row["name"] for row in answer["per_class"]] == list(NAMES)
    assert [row["images"] for row in answer["per_class"]] == [0, 0, 6, 0]
    code, text, _ = run(capsys, "eval", adapter, "--data", folder)
    assert "images right among 4 classes (the adapter's)" in text
    assert "always answering 'blue', the most frequent class, is right for 100.00 %" in text


def test_among_data_restricts_and_refuses_a_single_class(adapter, tmp_path, capsys):
    two = images(tmp_path / "two", blue=2, red=2)
    code, text, _ = run(capsys, "eval", adapter, "--data", two, "--among", "data", "--json")
    answer = json.loads(text)
    assert (code, answer["among"], answer["classes"]) == (0, "data", 2)
    assert {row["name"] for row in answer["per_class"]} == {"blue", "red"}
    one = images(tmp_path / "one", blue=2)
    code, text, error = run(capsys, "eval", adapter, "--data", one, "--among", "data")
    assert (code, text) == (2, "")
    assert "among one class every answer is right" in error


def test_folders_written_with_spaces_are_the_adapters_classes(adapter, tmp_path, capsys):
    folder = images(tmp_path / "data", **{"Golden Retriever": 2, "red": 2})
    code, text, _ = run(capsys, "eval", adapter, "--data", folder)
    assert code == 0
    assert "among 4 classes" in text
    assert "taken as the same" in text


def test_the_files_of_out_say_what_stdout_says(adapter, tmp_path, capsys):
    folder, out = images(tmp_path / "data", blue=3, red=2, green=1), tmp_path / "judged"
    code, text, error = run(capsys, "eval", adapter, "--data", folder, "--json", "--out", out)
    assert code == 0
    assert json.loads((out / "metrics.json").read_text()) == json.loads(text)
    expected = {"metrics.json", "classes.csv", "confusion_matrix.csv"}
    if find_spec("matplotlib"):
        expected |= {"confusion_matrix.png"}
    assert {path.name for path in out.iterdir()} == expected
    assert "wrote metrics.json" in error
    (tmp_path / "file").write_text("mine")
    code, text, error = run(capsys, "eval", adapter, "--data", folder, "--out", tmp_path / "file")
    assert (code, text) == (2, "")
    assert "is a file" in error
    assert (tmp_path / "file").read_text() == "mine"


def test_two_classes_of_one_name_are_two_rows(backbone, tmp_path, capsys):
    adapter = adaptkit.create_method("zero_shot", backbone, ("cat", "cat", "blue")).save_pretrained(tmp_path / "a")
    folder = images(tmp_path / "data", red=2, green=2, blue=2)
    (tmp_path / "names.json").write_text(json.dumps({"red": "cat", "green": "cat"}))
    words = ("eval", adapter, "--data", folder, "--classnames", tmp_path / "names.json")
    code, text, _ = run(capsys, *words, "--json")
    assert code == 0
    assert sorted(row["name"] for row in json.loads(text)["per_class"]) == ["blue", "cat", "cat"]
    code, text, _ = run(capsys, *words)
    assert code == 0
    assert "2 classes are called 'cat'" in text


def test_names_that_are_new_to_the_adapter_are_said(backbone, tmp_path, capsys):
    adapter = adaptkit.create_method("zero_shot", backbone, NAMES).save_pretrained(tmp_path / "a")
    code, text, _ = run(capsys, "eval", adapter, "--data", images(tmp_path / "data", red=1, sushi=1))
    assert code == 0
    assert "among 2 classes (the images')" in text
    assert "1 of the images' 2 classes are none of the adapter's ('sushi')" in text
    code, _, error = run(capsys, "eval", adapter, "--data", images(tmp_path / "one", sushi=2))
    assert code == 2
    assert "meaningless" in error
