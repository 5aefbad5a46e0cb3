"""What a bench says of data that are not there, or cannot be tested on, before anything is trained."""

import json

import pytest

from datasets_fewshot import PAPER_DATASETS, DatasetNotFoundError, SplitError
from tests.helpers.fake_trees import make_tree
from trainers.config.load import load_bench
from trainers.runs.sources import check_tests, load_sources, make_task


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path / "cache"))


def paper_bench(root, names=""):
    fixed = {"SUITE": "paper", "DATA.ROOT": str(root), "PROTOCOL": "few_shot"}
    return load_bench(None, ["METHODS", "[coop]", "SHOTS", "[1]"], fixed | ({"DATASETS": names} if names else {}))


def test_missing_data_sets_come_with_the_words_that_take_the_others(tmp_path):
    for name in ("eurosat", "dtd"):
        make_tree(name, tmp_path, PAPER_DATASETS[name].layouts[0], counts=(1, 0, 1))
    make_tree("food101", tmp_path, PAPER_DATASETS["food101"].layouts[0], counts=(1, 0, 1), split_file=False)
    with pytest.raises(DatasetNotFoundError, match=r"The others are there: --datasets dtd,eurosat$") as caught:
        load_sources(paper_bench(tmp_path))
    assert "Missing: imagenet, caltech101" in str(caught.value)
    assert "food101, fgvc_aircraft" in str(caught.value)
    assert set(load_sources(paper_bench(tmp_path, ["dtd", "eurosat"])).datasets) == {"dtd", "eurosat"}


def test_bench_has_the_hint_of_the_doctor(tmp_path):
    make_tree("eurosat", tmp_path / "data", PAPER_DATASETS["eurosat"].layouts[0], counts=(1, 0, 1))
    with pytest.raises(DatasetNotFoundError, match=r"data' has it: point --root there"):
        load_sources(paper_bench(tmp_path, ["eurosat"]))


def test_a_damaged_split_file_is_named_by_bench(tmp_path):
    tree = make_tree("eurosat", tmp_path, PAPER_DATASETS["eurosat"].layouts[0], counts=(1, 0, 1))
    file = tree.folder / PAPER_DATASETS["eurosat"].split_file
    file.write_bytes(b"<html>")
    with pytest.raises(SplitError, match=f"{file}.*web page"):
        load_sources(paper_bench(tmp_path, ["eurosat"]))


@pytest.mark.parametrize(("part", "message"), [("train", "eurosat has no training images"), ("test", "has no images")])
def test_an_empty_list_is_named_before_anything_is_trained(tmp_path, part, message):
    counts = (0, 0, 1) if part == "train" else (1, 0, 0)
    make_tree("eurosat", tmp_path, PAPER_DATASETS["eurosat"].layouts[0], counts=counts)
    config = paper_bench(tmp_path, ["eurosat"])
    with pytest.raises(ValueError, match=message):
        check_tests(make_task(config.runs[0], load_sources(config)), "eurosat")


def test_one_class_is_nothing_to_tell_apart(tmp_path):
    tree = make_tree("eurosat", tmp_path, PAPER_DATASETS["eurosat"].layouts[0], counts=(1, 0, 1))
    file = tree.folder / PAPER_DATASETS["eurosat"].split_file
    rows = json.loads(file.read_text())
    file.write_text(json.dumps({part: [row for row in rows[part] if row[1] == 0] for part in rows}))
    with pytest.raises(ValueError, match="eurosat has training images of one class only, 'Annual Crop Land'"):
        load_sources(paper_bench(tmp_path, ["eurosat"]))
