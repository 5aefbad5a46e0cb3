"""`adaptkit languages`: from files of names and pairs to a table and an adapter."""

import json

import pytest

from trainers.cli import main


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "names").mkdir()
    (tmp_path / "names/labels.de.tsv").write_text("0\tAmphore\n1\tAvocado; Avocadofrucht\n2\tAmphore\n")
    (tmp_path / "names/labels.ru.tsv").write_text("1\tавокадо и ещё очень много других слов\n", encoding="utf-8")
    (tmp_path / "names/templates.de.txt").write_text("ein Bild von {}.\n")
    (tmp_path / "pairs.tsv").write_text("dog\tHund\ncat\tKatze\n")
    return tmp_path


def test_files_are_checked(place, capsys):
    assert main(["languages", "check", "--labels", "names"]) == 0
    out = capsys.readouterr().out
    assert "de: 3 classes, 1 templates, 0 names cut" in out
    assert "classes 0, 2 are all 'Amphore': an image of any of them counts as right" in out
    assert "many names are longer than the context" in out
    assert "no templates of its own" in out
    assert main(["languages", "check", "--labels", "names", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["languages"][0]["shared_names"] == {"Amphore": [0, 2]}


def test_languages_are_tested_and_learnt(place, capsys):
    words = ["languages", "eval", "--data", "emoji_food", "--labels", "names", "--settings", "label,english,translated"]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [score["classes"] for score in found["scores"]] == [3, 1, 3, 1, 3]
    assert found["left_out"] == [["ru", "translated_templates"]]
    assert {"gap", "chance", "group", "english"} <= found["scores"][0].keys()
    assert main(["languages", "train", "pairs.tsv", "--language", "de", "--epochs", "1", "--out", "german"]) == 0
    assert "cosine of English texts before and after" in capsys.readouterr().out
    again = ["languages", "eval", "--data", "emoji_food", "--languages", "de,fr", "--adapter", "german"]
    assert main(again) == 0
    assert len([line for line in capsys.readouterr().out.splitlines() if line.startswith(("de ", "fr "))]) == 2


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["eval", "--data", "emoji_food", "--settings", "foo"], "--settings has 'foo'; take some of label, english"),
        (["eval", "--data", "icons"], "no names in other languages for the classes of 'icons'"),
        (["eval", "--data", "emoji_food", "--languages", "xx"], "there are no labels of language 'xx'"),
        (["eval", "--data", "emoji_food", "--prompts", "p.json"], "--prompts goes with the JSON file of --labels"),
        (["train", "names/labels.ru.tsv", "--language", "de", "--out", "pairs.tsv"], "is a file; give a folder"),
        (["train", "nothing.tsv", "--language", "de", "--out", "x"], "there is no pairs of texts 'nothing.tsv'"),
        (["check", "--labels", "pairs.tsv"], "pairs.tsv"),
    ],
)
def test_a_mistake_is_one_line(words, error, place, capsys):
    assert main(["languages", *words]) == 2
    assert error in capsys.readouterr().err
