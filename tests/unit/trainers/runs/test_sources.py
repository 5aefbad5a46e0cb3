"""What a bench says of data that are not there, or cannot be tested on, before anything is trained."""

import shutil

import pytest

from datasets_fewshot import PAPER_DATASETS, DatasetNotFoundError, Split, SplitError, load_own_data, write_split
from tests.helpers.fake_trees import make_tree
from tests.helpers.synthetic import synthetic_dataset
from trainers.config.load import load_bench
from trainers.protocols.registry import get_protocol, list_protocols
from trainers.runs.sources import check_own, load_sources, make_task

PARTS = ("train", "val", "test")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path / "cache"))


def own_photos(tmp_path, parts, classes=4):
    """A folder of parts with the given numbers of images of each class."""
    synthetic_dataset(tmp_path / "made", train=5, val=2, test=3)
    photos = tmp_path / "photos"
    for part in parts:
        for image in (tmp_path / "made" / part).glob("*.png"):
            label = image.name[0]
            if int(label) < classes:
                (photos / part / f"kind {label}").mkdir(parents=True, exist_ok=True)
                shutil.copy(image, photos / part / f"kind {label}" / f"{part}{image.name}")
    return photos


def tasks(photos, protocol, split=None):
    fixed = {"DATA.OWN": [str(photos)], "PROTOCOL": protocol, "DATA.SPLIT": split and str(split)}
    config = load_bench(None, ["METHODS", "[coop]", "SEEDS", "[1]", "SHOTS", "[1]"], fixed)
    sources = load_sources(config)
    check_own(config, sources)
    return [make_task(run, sources) for run in config.runs]


ALONE = [name for name in list_protocols() if get_protocol(name).targets == "none"]


@pytest.mark.parametrize("protocol", ALONE)
def test_data_without_test_images_are_refused_before_training(tmp_path, protocol):
    with pytest.raises(ValueError, match="photos has no test images, so nobody would know"):
        tasks(own_photos(tmp_path, ("train", "val")), protocol)


@pytest.mark.parametrize("protocol", ALONE)
def test_data_without_training_images_are_refused(tmp_path, protocol):
    photos = own_photos(tmp_path, ("train", "test"))
    write_split(Split((), (), load_own_data(photos).split.test), tmp_path / "split.json")
    with pytest.raises(ValueError, match="photos has no training images; put some"):
        tasks(photos, protocol, split=tmp_path / "split.json")


@pytest.mark.parametrize("protocol", ALONE)
def test_data_without_validation_images_are_taken(tmp_path, protocol):
    (task,) = tasks(own_photos(tmp_path, ("train", "test")), protocol)
    assert all(test.items for test in task.tests)
    assert task.val == ()


@pytest.mark.parametrize("protocol", ALONE)
def test_one_class_is_nothing_to_tell_apart(tmp_path, protocol):
    with pytest.raises(ValueError, match="photos has one class only, 'kind 0'"):
        tasks(own_photos(tmp_path, PARTS, classes=1), protocol)


def test_a_half_of_one_class_is_no_test(tmp_path):
    photos = own_photos(tmp_path, PARTS, classes=3)
    with pytest.raises(ValueError, match="'new' of base_to_novel would test photos on one class only"):
        tasks(photos, "base_to_novel")
    assert tasks(photos, "few_shot")


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
