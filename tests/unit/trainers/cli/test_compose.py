"""The verbs of `adaptkit compose`, from their words to their files, on the embedded model."""

import json

import pytest

from adaptkit import create_head, load_backbone, load_head
from tests.helpers.fake_composed import circo_tree, cirr_tree, draw, fashion_iq_tree
from trainers.cli import main

NAMES = ["a.png", "b.png", "c.png"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with three images, three queries and a head."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path / "cache"))
    draw(tmp_path / "photos", NAMES)
    create_head("isa", load_backbone("adaptkit-mini"), tokens=2).save_pretrained("head")
    lines = [
        {"reference": "a.png", "modifier": "in blue", "target": "b.png", "group": "blue", "subset": ["b.png", "c.png"]},
        {"reference": "c.png", "modifier": "in red", "target": ["a.png"], "group": "red"},
        {"reference": "a.png", "modifier": "in green", "target": ["c.png", "b.png"], "group": "green"},
    ]
    (tmp_path / "photos" / "asked.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return tmp_path


def answer(capsys, *words):
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_train_writes_a_head_and_leaves_nothing_else(folder, capsys):
    words = ("compose", "train", "photos", "--out", "new", "--words", "1", "--epochs", "2", "--batch-size", "2")
    found = answer(capsys, *words)
    assert (found["images"], len(found["losses"])) == (3, 2)
    assert sorted(path.name for path in (folder / "new").iterdir()) == [
        "README.md",
        "adapter_config.json",
        "learnt.safetensors",
    ]
    head = load_head("new", load_backbone("adaptkit-mini"))
    assert head.config.tokens == 1
    assert main([*words, "--no-local", "--encoder", "test_efficientnet"]) == 0
    assert "wrote new" in capsys.readouterr().out


def test_search_ranks_a_folder_as_its_index(folder, capsys):
    assert main(["retrieve", "build", "photos", "--out", "index"]) == 0
    capsys.readouterr()
    asked = ("--image", "photos/a.png", "--text", "in blue")
    of_folder = answer(capsys, "compose", "search", "head", "photos", *asked)
    of_index = answer(capsys, "compose", "search", "head", "index", *asked, "--verify")
    assert of_folder == of_index
    assert sorted(hit["item"] for hit in of_folder["results"]) == NAMES
    fused = answer(capsys, "compose", "search", "head", "index", *asked, "--beta", "0.5", "--top", "1")
    assert len(fused["results"]) == 1
    assert main(["compose", "search", "head", "index", "--image", "photos/a.png", "--top", "2"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_eval_judges_the_head_beside_what_needs_no_training(folder, capsys):
    rows = answer(capsys, "compose", "eval", "head", "photos/asked.jsonl")
    ways = {row["way"] for row in rows}
    assert ways == {"isa", "image only", "text only", "sum", "slerp"}
    assert {row["group"] for row in rows} == {"", "blue", "red", "green"}
    whole = next(row for row in rows if row["way"] == "isa" and not row["group"])
    assert whole["queries"] == 3
    assert whole["R@5"] == 100  # of two images that remain
    assert {"Rs@1", "mAP@5", "median_rank"} < whole.keys()
    assert main(["compose", "eval", "head", "photos/asked.jsonl", "--no-baselines"]) == 0
    table = capsys.readouterr().out
    assert "R@50" in table
    assert "sum" not in table


@pytest.mark.parametrize(
    ("layout", "tree", "sets"),
    [("fashion_iq", fashion_iq_tree, 4), ("cirr", cirr_tree, 1), ("circo", circo_tree, 1)],
)
def test_eval_reads_published_sets(layout, tree, sets, folder, capsys):
    tree(folder / "set")
    rows = answer(capsys, "compose", "eval", "head", "set", "--layout", layout, "--no-baselines")
    assert len(rows) == sets
    if layout == "fashion_iq":
        assert (rows[-1]["set"], rows[-1]["queries"]) == ("mean", 6)
        assert {"R@10", "R@50"} < rows[-1].keys()
    if layout == "cirr":
        assert {"Rs@1", "Rs@2", "Rs@3"} < rows[0].keys()
    if layout == "circo":
        assert {"mAP@5", "mAP@50"} < rows[0].keys()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("search head photos --image photos/none.png", "none.png"),
        ("search head nowhere --image photos/a.png", "nowhere"),
        ("search head photos/a.png --image photos/a.png", "is no data for an index"),
        ("search other photos --image photos/a.png", "holds UniQAAdapter"),
        ("search head photos --image photos/a.png --top 9", "give 1 to 3"),
        ("search head texts --image photos/a.png", "holds texts"),
        ("eval head photos/none.jsonl", "none.jsonl"),
        ("eval head photos --layout cirr", "split.rc2.val.json"),
        ("eval head photos/asked.jsonl --gallery head", "no image"),
        ("train photos --out photos/a.png", "is a file"),
        ("train photos/asked.txt --out new", "texts"),
        ("train photos --out new --timm-pretrained", "no"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_leaves_nothing(words, complaint, folder, capsys):
    (folder / "photos" / "asked.txt").write_text("a text\n")
    if "other" in words:
        create_head("uniqa_adapter", load_backbone("adaptkit-mini")).save_pretrained("other")
    if "texts" in words.split():
        assert main(["retrieve", "build", "photos/asked.txt", "--out", "texts"]) == 0
    capsys.readouterr()
    assert main(["compose", *words.split()]) == 2
    said = capsys.readouterr()
    assert complaint in said.err
    assert said.err.count("\n") == 1
    assert not (folder / "new").exists()


def test_an_index_of_another_model_is_refused(folder, capsys):
    meta = folder / "index" / "meta.json"
    assert main(["retrieve", "build", "photos", "--out", "index"]) == 0
    content = json.loads(meta.read_text())
    meta.write_text(json.dumps({**content, "weights_sha256": "0" * 64}))
    assert main(["compose", "search", "head", "index", "--image", "photos/a.png"]) == 2
    assert "index" in capsys.readouterr().err
