"""`adaptkit captions` and `adaptkit name`: from a file of captions to names of images."""

import json

import pytest
from PIL import Image

from trainers.cli import main


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    captions = [f"a {colour} {thing}" for colour in ("red", "green", "blue") for thing in ("square", "apple", "sky")]
    (tmp_path / "captions.txt").write_text("\n".join(captions))
    for colour in ("red", "green", "blue"):
        (tmp_path / "images" / colour).mkdir(parents=True)
        for shade in range(2):
            Image.new("RGB", (40, 40), colour).save(tmp_path / "images" / colour / f"{shade}.png")
    return tmp_path


def test_captions_become_an_index_that_names_images(place, capsys):
    assert main(["captions", "build", "captions.txt", "--out", "index", "--shard-rows", "4"]) == 0
    assert "9 captions of width 128 in 3 files" in capsys.readouterr().out

    assert main(["captions", "search", "index", "--text", "a red apple", "--k", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["captions"][0]["caption"] == "a red apple"
    assert main(["captions", "search", "index", "images/red/0.png", "--k", "1"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert main(["captions", "search", "index"]) == 2
    assert "give images or --text" in capsys.readouterr().err

    assert main(["name", "images", "--index", "index", "--json", "--save", "head"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(answers) == 6
    assert {"label", "probability", "candidates", "captions", "centroid_similarity"} <= answers[0].keys()
    assert main(["predict", "head", "images", "--json"]) == 0
    assert [json.loads(line)["label"] for line in capsys.readouterr().out.splitlines()] == [
        answer["label"] for answer in answers
    ]

    (place / "broken.png").write_text("no image")
    assert main(["name", "images", "broken.png", "--index", "index", "--groups"]) == 2
    out, err = capsys.readouterr()
    assert "(" in out
    assert "broken.png" in err
    assert main(["name", "images/red/0.png", "--index", "index"]) == 0
    assert " %" in capsys.readouterr().out


def test_names_are_judged_beside_every_baseline(place, capsys):
    assert main(["captions", "build", "captions.txt", "--out", "index"]) == 0
    (place / "words.txt").write_text("apple\nsky\nred\n")
    capsys.readouterr()
    words = ["captions", "eval", "--data", "images", "--part", "all", "--index", "index", "--vocabulary", "words.txt"]
    assert main([*words, "--json"]) == 0
    ways = {row["way"]: row for row in json.loads(capsys.readouterr().out)["ways"]}
    assert {"CaSED", "closest caption", "fixed: words.txt", "told the classes", "no frequency filter"} <= ways.keys()
    assert all(0 <= row["micro"] <= 100 for row in ways.values())
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "semantic IoU %" in out
    assert "note: with few images of a class" in out


def test_what_is_missing_is_one_clear_error(place, capsys):
    assert main(["captions", "build", "none.txt", "--out", "index"]) == 2
    assert "there is no file of captions 'none.txt'" in capsys.readouterr().err
    assert main(["name", "images", "--index", "none"]) == 2
    assert "there is no index of captions 'none'" in capsys.readouterr().err
