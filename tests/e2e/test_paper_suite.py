"""The whole command on fake trees of the papers' eleven data sets, with real class lists and the embedded model."""

import json
from hashlib import sha256

import pytest

from datasets_fewshot import PAPER_DATASETS, list_datasets
from datasets_fewshot.paper_format.built_split import FALLBACK_NOTE
from tests.helpers.fake_trees import make_tree
from tests.helpers.old_pickles import Datum, pickled
from trainers.cli import main

QUICK = ["OPTIM.EPOCHS", "1", "--shots", "1", "--seeds", "1"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path / "cache"))


def records_below(folder):
    return [json.loads(path.read_text()) for path in sorted(folder.rglob("record.json"))]


def test_bench_runs_all_eleven_data_sets_of_the_papers(tmp_path, capsys):
    for name in list_datasets("paper"):
        make_tree(name, tmp_path / "data", PAPER_DATASETS[name].layouts[0], counts=(1, 0, 1))
    out = tmp_path / "runs"
    command = ["bench", "--suite", "paper", "--root", str(tmp_path / "data"), "--methods", "zero_shot,coop"]
    assert main([*command, "--out", str(out), *QUICK]) == 0
    records = records_below(out)
    assert {record["dataset"] for record in records} == set(list_datasets("paper"))
    assert len(records) == 22
    assert all("papers" in " ".join(record["notes"]) for record in records)
    cut = {record["dataset"] for record in records if "do not fit into the 24 positions" in " ".join(record["notes"])}
    assert cut == {"stanford_cars"}
    assert "zero_shot; coop on stanford_cars: 5 class names do not fit" in capsys.readouterr().out


def test_a_record_says_that_its_split_is_a_fallback(tmp_path):
    make_tree("eurosat", tmp_path / "data", PAPER_DATASETS["eurosat"].layouts[0], counts=(5, 2, 3), split_file=False)
    out = tmp_path / "runs"
    command = [
        "bench",
        "--suite",
        "paper",
        "--datasets",
        "eurosat",
        "--root",
        str(tmp_path / "data"),
        "--out",
        str(out),
    ]
    assert main([*command, "--methods", "zero_shot"]) == 2
    assert main([*command, "--methods", "zero_shot", "DATA.SPLIT", "fallback"]) == 0
    (record,) = records_below(out)
    assert FALLBACK_NOTE in record["notes"]


def test_an_imported_list_is_what_its_data_set_learns_from(tmp_path):
    tree = make_tree("eurosat", tmp_path / "data", PAPER_DATASETS["eurosat"].layouts[0], counts=(5, 2, 3))
    make_tree("dtd", tmp_path / "data", PAPER_DATASETS["dtd"].layouts[0], counts=(1, 0, 1))
    records = [Datum(str(tree.image_root / row[0]), row[1], row[2]) for row in sorted(tree.lists["train"])]
    chosen = [record for number, record in enumerate(records) if number % 5 == 3]
    (tmp_path / "shot_1-seed_1.pkl").write_bytes(pickled({"train": chosen, "val": []}))
    listed, out = tmp_path / "shot_1.json", tmp_path / "runs"
    assert (
        main(["data", "import", str(tmp_path / "shot_1-seed_1.pkl"), "--dataset", "eurosat", "--out", str(listed)]) == 0
    )
    command = ["bench", "--suite", "paper", "--root", str(tmp_path / "data"), "--out", str(out), "--methods", "taskres"]
    command += ["--protocol", "few_shot", *QUICK]
    assert main([*command, "--split", str(listed)]) == 2  # the other data sets of the papers are not there
    assert main([*command, "--datasets", "dtd", "--split", str(listed)]) == 2  # the list is of another
    assert main([*command, "--datasets", "eurosat", "--split", str(listed)]) == 0
    assert main([*command, "--datasets", "eurosat"]) == 0
    usual, own = sorted(records_below(out), key=lambda record: "split_file" in record["identity"])
    assert own["identity"]["split_file"] == sha256(listed.read_bytes()).hexdigest()
    assert own["identity"]["tests"] == usual["identity"]["tests"]
    assert own["identity"]["train"] != usual["identity"]["train"]
    assert any("every seed learns from the same listed images" in note for note in own["notes"])
    assert not any("listed" in note for note in usual["notes"])
