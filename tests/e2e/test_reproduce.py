"""`adaptkit reproduce` from end to end on fake trees, with the embedded model in the place of the papers'."""

import csv
import json

import pytest

from datasets_fewshot import PAPER_DATASETS
from tests.helpers.fake_trees import make_tree
from trainers.cli import main

MINI = ["--backbone", "adaptkit-mini"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path / "cache"))


def reproduce(table, root, out, *words):
    return main(["reproduce", table, "--root", str(root), "--out", str(out), *MINI, *words])


def ledger_of(out, table):
    with (out / f"{table}.ledger.csv").open() as file:
        return list(csv.DictReader(file))


def test_without_a_table_all_are_listed_with_what_is_published(capsys):
    assert main(["reproduce"]) == 0
    printed = capsys.readouterr().out
    assert "maple.base_to_novel" in printed
    assert "average base 82.28, novel 75.14, H 78.55" in printed
    assert "44 of them recalled, not read in a source" in printed


def test_a_table_needs_the_data_sets_and_a_name_that_exists(capsys):
    assert main(["reproduce", "maple.base_to_novel"]) == 2
    assert "--root is missing" in capsys.readouterr().err
    assert main(["reproduce", "maple.few_shots", "--root", "."]) == 2
    assert "no published table 'maple.few_shots'" in capsys.readouterr().err


def test_maple_s_table_is_run_with_its_recipe_and_held_against_the_paper(tmp_path, capsys):
    make_tree("eurosat", tmp_path / "data", PAPER_DATASETS["eurosat"].layouts[0], counts=(2, 1, 2))
    out = tmp_path / "runs"
    words = ["--datasets", "eurosat", "--seeds", "1,2", "--shots", "1", "OPTIM.EPOCHS", "1"]
    assert reproduce("maple.base_to_novel", tmp_path / "data", out, *words) == 0
    printed = capsys.readouterr().out
    assert "Reproduction ledger, base_to_novel" in printed
    assert "maple.base_to_novel: 12 not comparable, 60 not run" in printed
    rows = ledger_of(out, "maple.base_to_novel")
    (h,) = [row for row in rows if (row["method"], row["place"], row["measure"]) == ("maple", "eurosat", "H")]
    assert (h["published"], h["verdict"], h["seeds"]) == ("82.35", "not comparable", "1 2")
    for reason in ("other backbone (adaptkit-mini; published ViT-B-16)", "OPTIM.EPOCHS is 1 (recipe: 5)"):
        assert reason in h["why"]
    records = [json.loads(path.read_text()) for path in out.glob("*/*/*/record.json")]
    trained = [record for record in records if record["method"] == "maple"]
    assert {record["identity"]["recipe"] for record in trained} == {"paper"}
    assert {record["identity"]["optim"]["lr"] for record in trained} == {0.0035}


def test_a_few_shot_table_has_a_line_for_every_number_of_shots(tmp_path):
    make_tree("eurosat", tmp_path / "data", PAPER_DATASETS["eurosat"].layouts[0], counts=(3, 2, 2))
    out = tmp_path / "runs"
    words = ["--datasets", "eurosat", "--shots", "1,2", "TIP_ADAPTER.AUGMENT_VIEWS", "1"]
    assert reproduce("tip_adapter.few_shot", tmp_path / "data", out, *words) == 0
    rows = [row for row in ledger_of(out, "tip_adapter.few_shot") if row["place"] == "eurosat"]
    ours = [row for row in rows if row["method"] == "tip_adapter"]
    assert [(row["shots"], row["published"]) for row in ours] == [("1", "54.38"), ("2", "61.68")]
    assert all("one seed tells no noise" in row["why"] for row in ours)
