"""Every loader over every layout, on fake trees with the real class lists."""

from pathlib import Path

import pytest

from datasets_fewshot import (
    PAPER_DATASETS,
    DatasetNotFoundError,
    SplitError,
    draw_few_shot,
    list_datasets,
    load_dataset,
    select_classes,
)
from datasets_fewshot.paper_format.built_split import FALLBACK_NOTE
from datasets_fewshot.paper_format.facts import facts, imagenet_family_names
from datasets_fewshot.paper_format.fallback import FALLBACK_SEED
from tests.helpers.fake_trees import IMAGENET_VARIANTS, PARTS, make_tree

LAYOUTS = [(name, layout) for name, dataset in PAPER_DATASETS.items() for layout in dataset.layouts]
WITH_SPLIT_FILE = [(name, layout) for name, layout in LAYOUTS if PAPER_DATASETS[name].split_file]


def name_of(value: object) -> str:
    return value if isinstance(value, str) else f"{value.name}:{value.folder}/{value.images}"  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(("name", "layout"), LAYOUTS, ids=name_of)
def test_loads_every_layout_with_the_papers_names_and_lists(tmp_path, name, layout):
    tree = make_tree(name, tmp_path, layout, counts=(0, 0, 1) if name in IMAGENET_VARIANTS else (1, 1, 1))
    dataset = load_dataset(name, tmp_path)
    assert dataset.classnames == facts(name).classnames
    assert dataset.image_root == tree.image_root
    for part, items in zip(PARTS, dataset.split, strict=True):
        assert [(item.path, item.label, item.classname) for item in items] == tree.lists[part]
    assert dataset.load(dataset.split.test[0]).mode == "RGB"


@pytest.mark.parametrize(("name", "layout"), WITH_SPLIT_FILE, ids=name_of)
def test_builds_a_fallback_split_that_is_marked_and_kept(tmp_path, name, layout):
    tree = make_tree(name, tmp_path, layout, counts=(5, 2, 3), split_file=False)
    with pytest.raises(DatasetNotFoundError, match=PAPER_DATASETS[name].split_file) as caught:
        load_dataset(name, tmp_path)
    assert str(tree.folder) in str(caught.value)
    assert "--split fallback" in str(caught.value)

    dataset = load_dataset(name, tmp_path, split="fallback")
    assert FALLBACK_NOTE in dataset.notes
    assert dataset.classnames == facts(name).classnames
    listed = {row for part in PARTS for row in tree.lists[part]}
    assert {(item.path, item.label, item.classname) for items in dataset.split for item in items} == listed
    if name in ("oxford_pets", "stanford_cars", "sun397", "ucf101"):  # their tests are official
        assert sorted(item.path for item in dataset.split.test) == sorted(path for path, _, _ in tree.lists["test"])
    else:
        classes = len(dataset.classnames)
        assert [len(items) for items in dataset.split] == [5 * classes, 2 * classes, 3 * classes]
    assert load_dataset(name, tmp_path, split="fallback").split == dataset.split
    assert (tree.folder / PAPER_DATASETS[name].split_file.replace("zhou", "fallback")).is_file()
    assert FALLBACK_SEED == 1  # part of what makes the split the same everywhere


@pytest.mark.parametrize("name", PAPER_DATASETS)
def test_a_missing_data_set_says_where_it_was_looked_for(tmp_path, name):
    with pytest.raises(DatasetNotFoundError, match=f"found no {PAPER_DATASETS[name].title} below") as caught:
        load_dataset(name, tmp_path)
    for layout in PAPER_DATASETS[name].layouts:
        assert str(tmp_path / layout.folder) in str(caught.value)


@pytest.mark.parametrize("name", PAPER_DATASETS)
def test_a_root_is_asked_for(name):
    with pytest.raises(DatasetNotFoundError, match=f"{PAPER_DATASETS[name].title} needs a root"):
        load_dataset(name)


@pytest.mark.parametrize("name", list_datasets("paper"))
def test_a_missing_image_is_named(tmp_path, name):
    layout = PAPER_DATASETS[name].layouts[0]
    tree = make_tree(name, tmp_path, layout, counts=(1, 1, 1))
    path = tree.lists["test"][0][0]
    (tree.image_root / path).unlink()
    with pytest.raises(SplitError, match=r"empty|1 of \d+ images are not below") as caught:
        load_dataset(name, tmp_path)
    assert path.rsplit("/", 1)[0].removeprefix("val/") in str(caught.value)


@pytest.mark.parametrize("name", list_datasets("paper"))
def test_an_unknown_option_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="split is 'official'; use 'paper', 'fallback' or a split file"):
        load_dataset(name, tmp_path, split="official")


@pytest.mark.parametrize("name", list_datasets("paper"))
def test_the_record_is_told_that_these_are_not_the_papers_images(tmp_path, name):
    make_tree(name, tmp_path, PAPER_DATASETS[name].layouts[0], counts=(1, 0, 1))
    note = load_dataset(name, tmp_path).notes[-1]
    classes = len(facts(name).classnames)
    assert note.startswith(f"not the papers' images: [{classes}, 0, {classes}] train, val and test images instead of")
    assert note.endswith("differ from the published draw") == bool(facts(name).draws)


def test_a_fallback_is_not_taken_where_the_papers_split_is_there(tmp_path):
    tree = make_tree("eurosat", tmp_path, PAPER_DATASETS["eurosat"].layouts[0], counts=(5, 2, 3))
    dataset = load_dataset("eurosat", tmp_path, split="fallback")
    assert [item.path for item in dataset.split.train] == [path for path, _, _ in tree.lists["train"]]
    assert FALLBACK_NOTE not in dataset.notes


@pytest.mark.parametrize("name", list_datasets("paper"))
def test_base_and_new_halves_have_the_papers_sizes(tmp_path, name):
    make_tree(name, tmp_path, PAPER_DATASETS[name].layouts[0], counts=(2, 1, 1))
    drawn = draw_few_shot(load_dataset(name, tmp_path).split, 1, 1)
    sizes = [len(select_classes(drawn, half).train) for half in ("base", "new")]
    classes = len(facts(name).classnames)
    assert sizes == [-(-classes // 2), classes // 2]


@pytest.mark.parametrize("name", [name for name in list_datasets("mini")])
def test_embedded_data_sets_load_and_can_be_halved(name):
    dataset = load_dataset(name)
    assert dataset.load(dataset.split.train[0]).mode == "RGB"
    assert dataset.load(dataset.split.test[-1]).mode == "RGB"
    drawn = draw_few_shot(dataset.split, 1, 1)
    assert select_classes(drawn, "base").test
    assert select_classes(drawn, "new").test


def test_the_papers_have_eleven_data_sets_and_four_variants():
    assert len(list_datasets("paper")) == 11
    assert list_datasets("imagenet_variants") == list(IMAGENET_VARIANTS)


@pytest.mark.parametrize(("name", "classes"), [("imagenet_a", 200), ("imagenet_r", 200), ("imagenet_sketch", 1000)])
def test_variants_name_as_many_classes_as_they_have(name, classes):
    assert len(imagenet_family_names(name)) == classes


def test_facts_cover_every_data_set():
    for name in PAPER_DATASETS:
        assert facts(name).test > 0
        assert len(facts(name).draws) == (0 if "imagenet" in name else 30)


def test_a_folder_called_train_is_no_imagenet_without_a_folder_of_a_wnid(tmp_path: Path):
    for name in ("train/dog/1.jpg", "val/n01440764/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"image")
    with pytest.raises(DatasetNotFoundError, match=r"train \(torchvision\), which has no folder n"):
        load_dataset("imagenet", tmp_path)
    (tmp_path / "train/n01440764").mkdir()
    with pytest.raises(SplitError, match="999 of 1000 wnid folders are missing"):
        load_dataset("imagenet", tmp_path)
