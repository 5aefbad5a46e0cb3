"""Few-shot lists in files, for the papers' data sets."""

import json

import pytest

from datasets_fewshot import PAPER_DATASETS, SplitError, draw, draw_few_shot, load_dataset, write_split
from datasets_fewshot.paper_format import facts as facts_module
from datasets_fewshot.splits.draws import LISTED
from datasets_fewshot.splits.split_files import read_dataset_name
from tests.helpers.fake_trees import make_tree

SEED = 7


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def listed(tmp_path):
    """The root of a EuroSAT, its split, and a file with a draw of two shots."""
    make_tree("eurosat", tmp_path, PAPER_DATASETS["eurosat"].layouts[0], counts=(4, 2, 3))
    whole = load_dataset("eurosat", tmp_path).split
    drawn = draw_few_shot(whole, 2, SEED)
    file = tmp_path / "shot_2-seed_7.json"
    write_split(type(whole)(drawn.train, drawn.val, ()), file, dataset="eurosat")
    return tmp_path, whole, drawn, file


def test_a_list_lends_its_images_and_takes_the_data_sets_tests(listed):
    root, whole, drawn, file = listed
    dataset = load_dataset("eurosat", root, split=str(file))
    assert dataset.split == drawn
    assert dataset.split.test == whole.test
    assert "not the papers' images: learns from the images listed in shot_2-seed_7.json (2 per class)" in dataset.notes
    for seed in (1, 2):
        assert draw(LISTED, dataset.split, 2, seed) == drawn
    with pytest.raises(ValueError, match="lists 2 images per class, and 16 are wanted; add --shots 2"):
        draw(LISTED, dataset.split, 16, 1)
    assert read_dataset_name(file) == "eurosat"


def test_a_published_draw_is_recognised(listed, monkeypatch):
    root, _, drawn, file = listed
    rows = dict(facts_module._all_facts())
    hashed = facts_module.items_hash(type(i)(f"2750/{i.path}", i.label, i.classname) for i in drawn.train)
    rows["eurosat"] = {**rows["eurosat"], "draws": {"train 2 7": [len(drawn.train), hashed[:16]]}}
    monkeypatch.setattr(facts_module, "_all_facts", lambda: rows)
    monkeypatch.setattr("datasets_fewshot.paper_format.few_shot_list.facts", facts_module.facts.__wrapped__)
    assert "learns from a published draw, listed in" in load_dataset("eurosat", root, split=str(file)).notes[-1]


def test_the_training_images_of_imagenet_may_be_listed(tmp_path):
    make_tree("imagenet", tmp_path, PAPER_DATASETS["imagenet"].layouts[0], counts=(3, 0, 1))
    whole = load_dataset("imagenet", tmp_path).split
    drawn = draw_few_shot(whole, 2, SEED)
    write_split(type(whole)(drawn.train, (), ()), tmp_path / "list.json")
    dataset = load_dataset("imagenet", tmp_path, split=str(tmp_path / "list.json"))
    assert dataset.split == drawn
    assert not any("not the papers' images: learns" in note for note in dataset.notes)


def change_label(content):
    for row in content["train"] + content["val"]:
        row[2] = "Meadow" if row[1] == 0 else row[2]


def drop_class(content):
    content["train"] = [row for row in content["train"] if row[1] != 9]
    content["val"] = [row for row in content["val"] if row[1] != 9]


def list_a_test(content):
    content["val"][0] = content["tests"][0]


MISTAKES = [
    (change_label, r"train\[\d+\]: label 0 is 'Meadow', and the data set calls it 'Annual Crop Land'"),
    (drop_class, "lists no training image of 1 of 10 classes, the first 'Sea or Lake'"),
    (list_a_test, r"is also val\[0\]; list it once"),
    (lambda content: content.update(train=[]), "lists no training images"),
    (lambda content: content["train"][0].__setitem__(0, "River/gone.jpg"), r"1 of \d+ images are not below"),
    (lambda content: content["train"][0].__setitem__(0, "../../etc/passwd"), r"climbs out with"),
]


@pytest.mark.parametrize(("change", "message"), MISTAKES, ids=[message[:20] for _, message in MISTAKES])
def test_a_list_that_does_not_fit_is_refused(listed, change, message):
    root, whole, _, file = listed
    content = json.loads(file.read_text())
    content["tests"] = [[item.path, item.label, item.classname] for item in whole.test]
    change(content)
    del content["tests"]
    file.write_text(json.dumps(content))
    with pytest.raises(SplitError, match=message):
        load_dataset("eurosat", root, split=str(file))
