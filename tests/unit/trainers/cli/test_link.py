"""`adaptkit link`: trained on a table, looked up, clustered and compared, with records that lack something."""

import json

import pytest

from adaptkit import create_head, load_head
from tests.helpers.synthetic import synthetic_dataset
from trainers.cli import main


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with records.csv: six groups for training, three for validation, three for testing."""
    drawn = synthetic_dataset(tmp_path / "drawn", train=12, val=0, test=0)
    paths = [item.path for item in drawn.split.train]
    lines = ["image,text,group,split"]
    for group in range(12):
        part = "train" if group < 6 else "val" if group < 9 else "test"
        for turn in range(2):
            image = f"drawn/{paths[2 * group + turn]}" if (group, turn) != (0, 0) else ""
            text = f"thing number {group}" if (group, turn) != (1, 1) else ""
            lines.append(f"{image},{text},{group},{part}")
    (tmp_path / "records.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_a_head_is_trained_searched_and_judged(place, capsys):
    words = ["link", "train", "records.csv", "--out", "head", "--epochs", "2", "--tokens", "--json"]
    assert main(words) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["train"], result["val"]) == (12, 6)
    head = load_head("head")
    assert head.threshold == pytest.approx(result["threshold"])
    assert main(["link", "search", "head", "records.csv", "--text", "thing number 3", "--top", "3", "--json"]) == 0
    links = json.loads(capsys.readouterr().out)["links"]
    assert len(links) == 3
    assert {"name", "distance", "place", "text", "group"} == set(links[0])
    image = next((place / "drawn").rglob("*.png"))
    assert main(["link", "search", "head", "records.csv", "--image", str(image), "--threshold", "2"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5
    assert main(["link", "eval", "head", "records.csv", "--draws", "20", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["way"] for row in rows] == ["image only", "text only", "pooled", "trained head", "+ token re-rank"]
    assert main(["link", "eval", "head", "records.csv", "--draws", "20"]) == 0
    assert "6 records of 3 groups" in capsys.readouterr().out


def test_records_are_clustered_into_a_table(place, capsys, tiny_clip):
    create_head("multimodal_linking", _mini()).save_pretrained("fresh")
    assert main(["link", "cluster", "fresh", "records.csv"]) == 2
    assert "has no threshold of its own; give one with --threshold" in capsys.readouterr().err
    assert main(["link", "cluster", "fresh", "records.csv", "--threshold", "2", "--out", "found.csv"]) == 0
    assert "24 records in 1 clusters" in capsys.readouterr().out
    lines = (place / "found.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "image,text,group,cluster"
    assert len(lines) == 25
    assert main(["link", "cluster", "fresh", "records.csv", "--threshold", "0", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["clusters"]) > 12


def test_what_is_missing_is_said(place, capsys):
    create_head("multimodal_linking", _mini()).save_pretrained("fresh")
    assert main(["link", "search", "fresh", "records.csv"]) == 2
    assert "give --image, --text or both" in capsys.readouterr().err
    (place / "bare.csv").write_text("text\na\nb\n", encoding="utf-8")
    assert main(["link", "train", "bare.csv", "--out", "head"]) == 2
    assert "has no column of groups; name it with --group-column" in capsys.readouterr().err
    assert not (place / "head").exists()
    create_head("uniqa_adapter", _mini()).save_pretrained("grades")
    assert main(["link", "eval", "grades", "records.csv"]) == 2
    assert "links no records" in capsys.readouterr().err


def _mini():
    from adaptkit import load_backbone

    return load_backbone("adaptkit-mini")
