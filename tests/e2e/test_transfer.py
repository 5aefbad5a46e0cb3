"""Transfer protocols on the embedded data sets and on fake trees of ImageNet: one training, many tests."""

import json

import pytest

from datasets_fewshot import PAPER_DATASETS
from tests.helpers.fake_trees import make_tree
from trainers.cli import main

QUICK = ["--methods", "zero_shot,coop", "--seeds", "1", "--device", "cpu", "OPTIM.EPOCHS", "1"]


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def records(folder):
    return {r["method"]: r for r in (json.loads(path.read_text()) for path in folder.rglob("record.json"))}


def test_from_coloured_drawings_to_other_families(own_folder, capsys):
    assert main(["bench", "--protocol", "domain_generalization", "--datasets", "emoji_activities", *QUICK]) == 0
    coop = records(own_folder)["coop"]
    assert [(s["name"], s["total"]) for s in coop["scores"]] == [
        ("twemoji", 64),
        ("symbola", 64),
        ("emojitwo-mono", 64),
    ]
    assert (coop["shots"], coop["train_items"], coop["epochs"]) == (2, 128, 1)
    assert "mean of 3" in (own_folder / "runs" / "domain_generalization.md").read_text()


def test_from_animals_to_other_data_sets(own_folder, capsys):
    assert main(["bench", "--protocol", "cross_dataset", "--targets", "emoji_food,emoji_activities", *QUICK]) == 0
    coop = records(own_folder)["coop"]
    assert coop["dataset"] == "emoji_animals"
    assert [(s["name"], len(s["classnames"])) for s in coop["scores"]] == [
        ("emoji_animals", 108), ("emoji_food", 88), ("emoji_activities", 64),
    ]  # fmt: skip
    assert "| average of 2 | coop | 4 |" in (own_folder / "runs" / "cross_dataset.md").read_text()


@pytest.mark.slow
def test_from_imagenet_to_its_variants_with_200_of_its_classes(own_folder, capsys):
    variants = {"imagenetv2": 1000, "imagenet_sketch": 1000, "imagenet_a": 200, "imagenet_r": 200}
    for name in ("imagenet", *variants):
        make_tree(name, own_folder / "data", PAPER_DATASETS[name].layouts[0], counts=(1, 0, 1))
    words = ["bench", "--protocol", "domain_generalization", "--suite", "paper", "--root", str(own_folder / "data")]
    words += ["--methods", "zero_shot,taskres", "--shots", "1", "--seeds", "1", "--device", "cpu"]
    assert main([*words, "OPTIM.EPOCHS", "1", "VIEWS.AUGMENT", "none"]) == 0
    made = records(own_folder)
    for method in ("zero_shot", "taskres"):  # taskres is bound to the 1,000 classes, and answers with 200 of them
        counts = {score["name"]: len(score["classnames"]) for score in made[method]["scores"]}
        assert counts == {"imagenet": 1000, **variants}
