"""`adaptkit train --describe FILE`: the texts reach the prompts and the adapter; the summary says what they give."""

import json

import pytest
from PIL import Image

import adaptkit
from trainers.cli import main

COLOURS = {"class_a": (220, 30, 30), "class_b": (30, 30, 220), "class_c": (20, 180, 40)}
TEXTS = """
class_a: {name: red square, sentences: [a red square.]}
class_b: {name: blue square, descriptors: [a cold colour]}
"""


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder of 24 images in three classes whose names say nothing, as `photos`, and texts that say more."""
    monkeypatch.chdir(tmp_path)
    for name, colour in COLOURS.items():
        for number in range(8):
            path = tmp_path / "photos" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 40), tuple(min(255, channel + 3 * number) for channel in colour)).save(path)
    (tmp_path / "texts.yaml").write_text(TEXTS)
    return tmp_path / "photos"


@pytest.mark.usefixtures("photos")
def test_texts_reach_zero_shot_and_are_kept_with_it(tmp_path, capsys):
    assert main(["train", "zero_shot", "--data", "photos", "--describe", "texts.yaml", "--out", "mine"]) == 0
    said = capsys.readouterr().out
    assert "your texts bring zero-shot from" in said
    assert "nothing is said of 1 classes, such as 'class_c'" in said
    (tmp_path / "texts.yaml").unlink()
    method = adaptkit.load("mine")
    assert method.classes.classnames == ("class_a", "class_b", "class_c"), "answers keep the folders' names"
    assert method.classes.texts[0] == ("a red square.",)
    assert method.classes.texts[1] == ("a photo of a blue square.", "a photo of a blue square, which is a cold colour.")
    assert method.classes.texts[2] == ("a photo of a class c.",)
    summary = json.loads((tmp_path / "mine" / "summary.json").read_text())
    assert [gain["part"] for gain in summary["text_gains"]] == ["test", "train"]
    test = summary["text_gains"][0]
    assert (test["before"], test["after"]) == (summary["zero_shot_accuracy"], summary["accuracy"])
    assert main(["eval", "mine", "--data", "photos", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == pytest.approx(summary["accuracy"])


@pytest.mark.usefixtures("photos")
def test_a_method_of_learnt_prompts_reads_the_names_and_says_so(tmp_path, capsys):
    words = ["train", "coop", "--data", "photos", "--shots", "1", "--describe", "texts.yaml", "--out", "mine"]
    assert main([*words, "OPTIM.STEPS", "2"]) == 0
    assert "coop reads the names at most" in capsys.readouterr().out
    method = adaptkit.load("mine")
    assert method.classes.readable == ("red square", "blue square", "class c")
    assert method.classes.sentences is None


@pytest.mark.usefixtures("photos")
def test_other_texts_are_another_run(tmp_path):
    words = ["train", "tip_adapter", "--data", "photos", "--shots", "1", "--out", "mine"]
    assert main([*words, "--describe", "texts.yaml"]) == 0
    (tmp_path / "texts.yaml").write_text("class_a: a crimson thing")
    assert main([*words, "--describe", "texts.yaml"]) == 0
    assert adaptkit.load("mine").classes.readable[0] == "a crimson thing"
    assert main(words) == 0
    assert adaptkit.load("mine").classes.spoken is None


@pytest.mark.usefixtures("photos")
def test_the_function_takes_a_file_as_the_command_does(tmp_path):
    result = adaptkit.fit("zero_shot", "photos", "mine", describe=tmp_path / "texts.yaml")
    assert [gain.part for gain in result.text_gains] == ["test", "train"]
    assert result.text_gains[0].before == result.zero_shot_accuracy


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("unicorn: a horn", "describes 1 classes that the data do not have, such as 'unicorn'"),
        ("", "is empty"),
        ("class_a: red\nclass_b: red", "so that nothing tells them apart"),
        ("class_a: red\nclass_a: blue", "'class_a' stands twice, again on line 2"),
        (f"class_a: {'very ' * 90}red", "too long for the 24 positions"),
    ],
)
def test_a_wrong_file_ends_before_anything_is_computed(tmp_path, capsys, text, complaint):
    (tmp_path / "texts.yaml").write_text(text)
    assert main(["train", "zero_shot", "--data", "photos", "--describe", "texts.yaml", "--out", "mine"]) == 2
    said = capsys.readouterr().err
    assert complaint in said.splitlines()[-1]
    assert "zero_shot on" not in said
    assert not (tmp_path / "mine").exists()


@pytest.mark.usefixtures("photos")
def test_a_search_compares_with_zero_shot_by_the_texts_and_takes_no_trial_of_other_texts(tmp_path):
    words = ["train", "auto", "--data", "photos", "--budget", "9steps", "--candidates", "tip_adapter", "--out", "mine"]
    assert main([*words, "--describe", "texts.yaml"]) == 0
    first = {path.name for path in (tmp_path / "mine").rglob("*.trial.safetensors")}
    board = json.loads((tmp_path / "mine" / "leaderboard.json").read_text())
    (baseline,) = (row for row in board["rows"] if row["candidate"] == "zero_shot")
    (tmp_path / "texts.yaml").write_text("class_a: crimson\nclass_b: navy\nclass_c: lime\n")
    assert main([*words, "--describe", "texts.yaml"]) == 0
    assert len({path.name for path in (tmp_path / "mine").rglob("*.trial.safetensors")}) == 2 * len(first)
    board = json.loads((tmp_path / "mine" / "leaderboard.json").read_text())
    (other,) = (row for row in board["rows"] if row["candidate"] == "zero_shot")
    assert other["mean"] != baseline["mean"]
