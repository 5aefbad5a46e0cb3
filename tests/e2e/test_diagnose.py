"""`adaptkit diagnose`: an adapter beside its own backbone, as text, JSON and a page; and the pair tests of `tune`."""

import json

import pytest
import torch
from PIL import Image

import adaptkit
from trainers.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A pair test of a few drawn items, and an adapter that learnt nothing sensible."""
    place = tmp_path_factory.mktemp("diagnosed")
    rows = []
    for number, colour in enumerate(("red", "green", "blue", "yellow")):
        Image.new("RGB", (48, 48), colour).save(place / f"{number}.png")
        others = ["red", "green", "blue", "yellow"]
        others.remove(colour)
        negatives = [f"a {other} square" for other in others]
        rows.append({"image": f"{number}.png", "positives": [f"a {colour} square"], "negatives": negatives})
    (place / "own.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    method = adaptkit.create_method("clip_lora", adaptkit.load_backbone("adaptkit-mini"), None)
    generator = torch.Generator().manual_seed(0)
    for parameter in method.learnt_parameters().values():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    method.save_pretrained(place / "mine")
    return place


def test_an_adapter_is_compared_with_its_own_backbone(folder, tmp_path, capsys):
    words = ["diagnose", str(folder / "mine"), "--pairs", "none", "--guard", "none", "--device", "cpu"]
    words += ["--tests", str(folder / "own.jsonl"), "--tests", "mini_pair_tests"]
    assert main([*words, "--json", "--page", str(tmp_path / "broken.html")]) == 0
    found = json.loads(capsys.readouterr().out)
    own, embedded = found["tests"]
    assert (own["name"], embedded["name"], found["adapter"]) == ("own", "mini_pair_tests", "mine")
    (row,) = own["comparisons"]
    assert (row["before"]["items"], row["chance"]) == (4, 25)
    rows = {(row["subset"], row["metric"]): row for row in embedded["comparisons"]}
    assert rows["object", "pair accuracy"]["before"]["percent"] > 80  # the backbone as it was loaded
    assert rows["object", "pair accuracy"]["changes"]["broken"] > 5
    broken = [item for item in embedded["broken"] if item["subset"] == "object"]
    assert len(broken) == rows["object", "pair accuracy"]["changes"]["broken"]
    assert "data:image/jpeg" in (tmp_path / "broken.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("--tests none --pairs none --guard none", "nothing is asked"),
        ("--tests none --tests mini_pair_tests", "leave one out"),
        ("--blind .", "give both"),
        ("--other x.npy", "give both"),
        ("--blind nowhere --other x.npy", "no folder of images"),
        ("--page .", "name a file"),
        ("--page nowhere/x.html", "name a file"),
        ("mine --pretrained openai", "an adapter knows its own"),
    ],
)
def test_words_that_make_no_question_are_refused(folder, words, complaint, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert main(["diagnose", *words.split(), "--device", "cpu"]) == 2
    said = capsys.readouterr()
    assert complaint in said.err
    assert not said.out


@pytest.mark.slow
@pytest.mark.parametrize("named", [["--tests", "mini_pair_tests"], ["--tests", "none"], []])
def test_tune_prints_pair_tests_before_and_after(named, tmp_path, capsys):
    words = ["tune", "adapter", "--pairs", "mini_pairs", "--out", str(tmp_path / "out"), "--guard", "none"]
    assert main([*words, *named, "OPTIM.STEPS", "1", "VIEWS.AUGMENT", "none", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    is_asked = named != ["--tests", "none"]
    assert ("pair test mini_pair_tests" in printed) == is_asked
    assert [one["name"] for one in summary["tested"]] == ["mini_pair_tests"] * is_asked
