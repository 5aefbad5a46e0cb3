"""Splits that are built where the papers' split file is missing."""

import json

import pytest

from datasets_fewshot import PAPER_DATASETS, DatasetNotFoundError, SplitError, load_dataset, write_split
from datasets_fewshot.paper_format.built_split import FALLBACK_NOTE
from datasets_fewshot.upkeep.doctor import examine
from tests.helpers.fake_trees import make_tree
from tests.helpers.published import built_by_the_rule, publish

REBUILT = [name for name, dataset in PAPER_DATASETS.items() if dataset.rebuilt_from]
FROM_FOLDERS = ["caltech101", "dtd", "eurosat", "food101"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path_factory.mktemp("cache")))


def tree_of(name, root, counts=(5, 2, 3)):
    return make_tree(name, root, PAPER_DATASETS[name].layouts[0], counts=counts, split_file=False)


@pytest.mark.parametrize("name", REBUILT)
@pytest.mark.parametrize("asked", ["paper", "fallback"])
def test_lists_that_come_out_as_the_papers_are_the_papers_split(tmp_path, monkeypatch, name, asked):
    tree = tree_of(name, tmp_path)
    papers = built_by_the_rule(name, tmp_path)
    publish(monkeypatch, name, papers)
    dataset = load_dataset(name, tmp_path, split=asked)
    assert dataset.split == papers
    assert dataset.notes == ()
    report = examine(name, tmp_path)
    assert report.exit_code == 0
    assert f"the papers' split, rebuilt from {PAPER_DATASETS[name].rebuilt_from}" in str(report)
    assert not list(tree.folder.glob("split_fallback_*"))
    write_split(papers, tree.folder / PAPER_DATASETS[name].split_file)
    assert load_dataset(name, tmp_path) == dataset  # so that runs with and without the file are the same runs


@pytest.mark.parametrize("name", REBUILT)
def test_lists_that_are_not_the_papers_are_no_papers_split(tmp_path, name):
    tree_of(name, tmp_path)
    with pytest.raises(DatasetNotFoundError, match=r"cannot be rebuilt from .* images; the papers' data set has"):
        load_dataset(name, tmp_path)
    notes = load_dataset(name, tmp_path, split="fallback").notes
    assert notes[0] == FALLBACK_NOTE
    assert "images; the papers' data set has" in notes[1]


@pytest.mark.parametrize("name", FROM_FOLDERS)
def test_missing_and_foreign_classes_are_refused_by_name(tmp_path, name):
    tree = tree_of(name, tmp_path, counts=(2, 1, 1))
    folders = sorted({path.split("/")[0] for path, _, _ in tree.lists["train"]})
    for file in (tree.image_root / folders[0]).iterdir():
        file.unlink()
    (tree.image_root / folders[1]).rename(tree.root / folders[1])
    with pytest.raises(SplitError, match=r"no fallback split is possible: 2 of \d+ classes are missing \('"):
        load_dataset(name, tmp_path, split="fallback")
    assert not list(tree.folder.glob("split_fallback_*"))


def test_a_folder_that_is_no_class_is_refused_by_name(tmp_path):
    tree = tree_of("dtd", tmp_path, counts=(2, 1, 1))
    (tree.image_root / "holiday").mkdir()
    (tree.image_root / "holiday" / "1.jpg").write_bytes((tmp_path / ".picture0.jpg").read_bytes())
    with pytest.raises(SplitError, match=r"1 classes are not of this data set \('holiday'\)"):
        load_dataset("dtd", tmp_path, split="fallback")


def test_a_folder_without_images_is_no_class(tmp_path):
    tree = tree_of("dtd", tmp_path)
    (tree.image_root / "thumbnails").mkdir()
    assert len(load_dataset("dtd", tmp_path, split="fallback").classnames) == 47


def test_a_kept_fallback_of_fewer_classes_is_refused(tmp_path):
    tree = tree_of("dtd", tmp_path)
    load_dataset("dtd", tmp_path, split="fallback")
    (kept,) = tree.folder.glob("split_fallback_*")
    content = json.loads(kept.read_text())
    for part in ("train", "val", "test"):
        content[part] = [row for row in content[part] if row[1] < 45]
    kept.write_text(json.dumps(content))
    with pytest.raises(SplitError, match=r"2 of 47 classes are missing .*which was built earlier"):
        load_dataset("dtd", tmp_path, split="fallback")


def test_a_cut_list_of_classes_names_file_and_line(tmp_path):
    tree = tree_of("ucf101", tmp_path)
    file = tree.folder / "ucfTrainTestlist" / "classInd.txt"
    file.write_text("\n".join(file.read_text().splitlines()[:99]) + "\n")
    with pytest.raises(SplitError, match=r"list01\.txt: line \d+ is '.*'; expected an action of classInd.txt"):
        load_dataset("ucf101", tmp_path, split="fallback")


ANNOTATIONS = {
    "oxford_pets": ["annotations/trainval.txt", "annotations/test.txt"],
    "sun397": ["ClassName.txt", "Training_01.txt"],
    "ucf101": ["ucfTrainTestlist/classInd.txt", "ucfTrainTestlist/trainlist01.txt"],
    "oxford_flowers": ["imagelabels.mat", "cat_to_name.json"],
    "stanford_cars": ["devkit/cars_meta.mat", "cars_test_annos_withlabels.mat"],
}
DAMAGED = {
    "a web page": b"<!DOCTYPE html><html><body>Too many requests</body></html>",
    "empty": b"",
    "in another encoding": b"caf\xe9 1 1 1\n",
    "other words": b"nothing of the kind\n",
    "cut off": b'{"1": "pink',
    "a label far too large": b"Abyssinian_1 99999999 1 1\n9999999 ApplyEyeMakeup\n",
}


@pytest.mark.parametrize(("name", "file"), [(name, file) for name, files in ANNOTATIONS.items() for file in files])
def test_a_damaged_list_is_named_in_one_line(tmp_path, name, file):
    tree = tree_of(name, tmp_path, counts=(1, 1, 1))
    for content in DAMAGED.values():
        (tree.folder / file).write_bytes(content)
        with pytest.raises((SplitError, ValueError)) as caught:
            load_dataset(name, tmp_path, split="fallback")
        assert "\n" not in str(caught.value)
        assert type(caught.value).__module__ != "builtins", repr(caught.value)
        assert examine(name, tmp_path).exit_code == 2
    assert not list(tree.folder.glob("split_fallback_*"))


SPLIT_FILES = {
    b"<!DOCTYPE html><html><body>Google Drive - Virus scan warning</body></html>": "is a web page",
    b'{"train": [["a.jpg", 0, "cat': "is not JSON",
    b"": "it is empty",
    '{"train": [["\xe9.jpg", 0, "cat"]]}'.encode("latin-1"): "is not text in UTF-8",
}


@pytest.mark.parametrize("content", SPLIT_FILES, ids=SPLIT_FILES.values())
def test_a_damaged_split_file_says_where_to_get_another(tmp_path, content):
    tree = make_tree("dtd", tmp_path, PAPER_DATASETS["dtd"].layouts[0])
    dtd = PAPER_DATASETS["dtd"]
    (tree.folder / dtd.split_file).write_bytes(content)
    with pytest.raises(SplitError, match=f"{dtd.split_file}.*{SPLIT_FILES[content]}.*download it again from https"):
        load_dataset("dtd", tmp_path)
    assert examine("dtd", tmp_path).exit_code == 2


def test_a_byte_order_mark_is_no_fault(tmp_path):
    tree = make_tree("dtd", tmp_path, PAPER_DATASETS["dtd"].layouts[0])
    file = tree.folder / PAPER_DATASETS["dtd"].split_file
    before = load_dataset("dtd", tmp_path).split
    file.write_text("\ufeff" + file.read_text(), encoding="utf-8")
    assert load_dataset("dtd", tmp_path).split == before
