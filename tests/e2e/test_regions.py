"""`adaptkit regions`: train, map, search and tune on drawn images whose texts list attributes of regions."""

import csv
import json

import pytest
import torch

from adaptkit import load, load_backbone, load_head
from benchmarks.region_drawings import attributes_of, drawings, truth_of, write
from trainers.cli.command import run as main

BUDGET = 6
NAMES = ",".join(attributes_of(BUDGET))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Images with pairs and boxes, and a head that was trained on them."""
    folder = tmp_path_factory.mktemp("drawn")
    write(drawings(20, 6, BUDGET), folder)
    words = ["--boxes", str(folder / "boxes.csv"), "--attributes", NAMES, "--epochs", "3", "--lr", "0.003"]
    assert main(["regions", "train", str(folder / "pairs.jsonl"), *words, "--out", str(folder / "head")]) == 0
    return folder


def asked(folder, verb, *words):
    return ["regions", verb, str(folder / "head"), *words]


def test_a_trained_head_is_an_artefact_with_its_index(drawn, tiny_clip):
    head = load_head(drawn / "head", load_backbone("adaptkit-mini"))
    assert head.attributes == tuple(NAMES.split(","))
    assert sorted(path.name for path in (drawn / "head").iterdir()) == [
        "README.md", "adapter_config.json", "learnt.safetensors", "regions",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="was learnt on adaptkit-mini"):
        load_head(drawn / "head", tiny_clip)


def test_training_again_gives_the_same_head_from_the_index_that_is_there(drawn, tmp_path, capsys):
    words = ["--boxes", str(drawn / "boxes.csv"), "--attributes", NAMES, "--epochs", "3", "--lr", "0.003", "--json"]
    index = ["--regions", str(drawn / "head" / "regions")]
    assert main(["regions", "train", str(drawn / "pairs.jsonl"), *words, *index, "--out", str(tmp_path / "again")]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["attributes"] == BUDGET
    assert 0 <= result["map"]["trained"] <= 100
    heads = [load_head(place, load_backbone("adaptkit-mini")) for place in (drawn / "head", tmp_path / "again")]
    states = [head.learnt_state() for head in heads]
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


def test_the_table_is_the_same_with_and_without_an_index(drawn, tmp_path, capsys):
    data = [str(drawn / "pairs.jsonl"), "--boxes", str(drawn / "boxes.csv")]
    assert main(asked(drawn, "map", *data, "--out", str(tmp_path / "map.csv"))) == 0
    index = ["--regions", str(drawn / "head" / "regions")]
    assert main(asked(drawn, "map", *data, *index, "--out", str(tmp_path / "map.jsonl"))) == 0
    with (tmp_path / "map.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (tmp_path / "map.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len({(row["image"], row["attribute"]) for row in rows}) == len({(r["image"], r["attribute"]) for r in lines})
    assert {row["image"] for row in rows} == {f"{number:05}.png" for number in range(20)}
    assert all(-1 <= float(row["score"]) <= 1 and float(row["x0"]) < float(row["x1"]) for row in rows)


def test_a_search_finds_images_with_boxes(drawn, capsys):
    index = str(drawn / "head" / "regions")
    assert main(asked(drawn, "search", index, "--attribute", "red", "--top", "3", "--json")) == 0
    found = json.loads(capsys.readouterr().out)["results"]
    assert len(found) == 3
    assert found[0]["score"] >= found[-1]["score"]
    assert len(found[0]["box"]) == 4
    assert main(asked(drawn, "search", index, "--attribute", "red", "--top", "2")) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert main(asked(drawn, "search", index, "--attribute", "shiny")) == 2
    assert "'shiny' has no head" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["clip_adapter", "clip_lora"])
def test_the_second_stage_makes_an_adapter(drawn, tmp_path, capsys, method):
    words = [str(drawn / "pairs.jsonl"), "--boxes", str(drawn / "boxes.csv"), "--method", method, "--epochs", "1"]
    words += ["--regions", str(drawn / "head" / "regions"), "--batch-size", "32", "--json"]
    assert main(asked(drawn, "tune", *words, "--out", str(tmp_path / "tuned"))) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["pairs"] > 12
    assert result["unnamed"] == 0
    assert result["after"]["to_texts"] >= 0
    adapter = load(tmp_path / "tuned", load_backbone("adaptkit-mini"))
    assert adapter.encode_image(torch.randn(1, 3, 48, 48)).shape == (1, 128)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("train DATA --out OUT", "give either --attributes"),
        ("train DATA --attributes red --pixels --out OUT", "give the table of boxes, too"),
        ("train DATA --attributes unheard --out OUT", "names any of 1 attributes, such as 'unheard'"),
        ("train DATA --attributes red,blue --synonyms red,crimson --out OUT", "'crimson', which is no attribute"),
        ("map HEAD DATA --out OUT", "ends in neither .csv nor .jsonl"),
        ("search HEAD nowhere --attribute red", "there is no index of regions"),
        ("tune HEAD DATA --method coop --out OUT", "changes the features of no image"),
    ],
)
def test_what_cannot_be_is_one_line_of_error(drawn, tmp_path, monkeypatch, capsys, words, complaint):
    monkeypatch.chdir(tmp_path)
    known = {"DATA": str(drawn / "pairs.jsonl"), "HEAD": str(drawn / "head"), "OUT": str(tmp_path / "out")}
    assert main(["regions", *(known.get(word, word) for word in words.split())]) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert not (tmp_path / "out").exists()


def test_the_drawings_have_as_many_pairs_as_was_asked():
    for complexity in (3, 27):
        images = drawings(5, complexity, BUDGET)
        truth = truth_of(images, attributes_of(BUDGET))
        assert truth.sum(dim=1).unique().tolist() in ([0, 3], [3])
        assert int(truth.sum()) == 5 * complexity
        assert len(images[0].text.split(". ")) == complexity // 3
    with pytest.raises(ValueError, match="expected a multiple of 3"):
        drawings(1, 4)
    with pytest.raises(ValueError, match="expected 6 to 18"):
        attributes_of(19)
