"""Trees that are called or nested otherwise than the layouts say, roots that are a folder off, and leftovers."""

import re
import shutil
from pathlib import Path

import pytest

from datasets_fewshot import PAPER_DATASETS, DatasetNotFoundError, SplitError, files_hash, load_dataset
from datasets_fewshot.upkeep.doctor import examine
from datasets_fewshot.upkeep.prepare import prepare
from tests.helpers.fake_trees import PARTS, make_tree

LAYOUTS = [(name, layout) for name, dataset in PAPER_DATASETS.items() for layout in dataset.layouts if layout.folder]
VARIANTS = ("imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path_factory.mktemp("cache")))


def tree_of(name, root, layout=None, **options):
    counts = (0, 0, 1) if name in VARIANTS else (1, 1, 1)
    return make_tree(name, root, layout or PAPER_DATASETS[name].layouts[0], counts=counts, **options)


def nest(folder):
    """Move a folder into one of its own name."""
    aside = folder.with_name("aside")
    folder.rename(aside)
    folder.mkdir()
    aside.rename(folder / folder.name)


def assert_loads(tree):
    dataset = load_dataset(tree.name, tree.root)
    for part, items in zip(PARTS, dataset.split, strict=True):
        assert [(item.path, item.label, item.classname) for item in items] == tree.lists[part]
    assert all(dataset.path(item).is_file() for items in dataset.split for item in items)
    report = str(examine(tree.name, tree.root))
    assert "taken as it is" in report or "torchvision layout" in report
    return dataset


FEW = [(name, PAPER_DATASETS[name].layouts[0]) for name in PAPER_DATASETS if name not in ("imagenet", *VARIANTS[:2])]


@pytest.mark.parametrize(("name", "layout"), FEW, ids=[name for name, _ in FEW])
def test_a_folder_that_lies_in_one_of_its_own_name_is_found(tmp_path, name, layout):
    tree = tree_of(name, tmp_path, layout)
    nest(tree.root / layout.folder)
    assert_loads(tree)


@pytest.mark.parametrize("name", [name for name, layout in FEW if layout.images])
def test_an_image_folder_that_lies_in_one_of_its_own_name_is_found(tmp_path, name):
    tree = tree_of(name, tmp_path)
    nest(tree.image_root)
    assert_loads(tree)


@pytest.mark.parametrize(("name", "layout"), FEW, ids=[name for name, _ in FEW])
def test_folders_in_another_case_are_found(tmp_path, name, layout):
    tree = tree_of(name, tmp_path, layout)
    tree.image_root.rename(tree.image_root.with_name(tree.image_root.name.swapcase()))
    if layout.images:
        tree.folder.rename(tree.folder.with_name(tree.folder.name.swapcase()))
    if tree.image_root.exists() or not any(sign.isalpha() for sign in layout.folder):
        pytest.skip("this file system does not tell names apart by case")
    assert_loads(tree)


@pytest.mark.parametrize("name", ["dtd", "stanford_cars", "ucf101", "fgvc_aircraft"])
def test_images_in_another_case_are_found_and_keep_their_listed_names(tmp_path, name):
    tree = tree_of(name, tmp_path)
    for rows in tree.lists.values():
        for path, _, _ in rows:
            file = tree.image_root / path
            file.rename(file.with_suffix(file.suffix.swapcase()))
    dataset = assert_loads(tree)
    assert dataset.load(dataset.split.test[0]).mode == "RGB"
    items = dataset.split.test
    assert files_hash(dataset.image_root, items, dataset.moved) != files_hash(dataset.image_root, items)


def test_the_mirror_of_stanford_cars_whose_images_lie_a_folder_deeper_is_found(tmp_path):
    tree = tree_of("stanford_cars", tmp_path)
    for folder in ("cars_train", "cars_test"):
        nest(tree.folder / folder)
    dataset = assert_loads(tree)
    assert dataset.path(dataset.split.test[0]).parent == tree.folder / "cars_test" / "cars_test"


def test_two_names_that_differ_in_case_alone_are_not_guessed_between(tmp_path):
    tree = tree_of("dtd", tmp_path)
    path = tree.lists["test"][0][0]
    file = tree.image_root / path
    file.rename(file.with_suffix(".jPG"))
    if file.with_suffix(".JPg").exists():
        pytest.skip("this file system does not tell names apart by case")
    shutil.copy(file.with_suffix(".jPG"), file.with_suffix(".JPg"))
    with pytest.raises(SplitError, match="1 of 141 images are not below"):
        load_dataset("dtd", tmp_path)


@pytest.mark.parametrize("name", [name for name, _ in FEW])
def test_a_root_that_is_a_folder_off_is_named(tmp_path, name):
    data = tmp_path / "disk" / "data"
    tree = tree_of(name, data)
    for root in (tree.folder, tree.image_root, tmp_path, tmp_path / "disk"):
        try:
            dataset = load_dataset(name, root)
        except DatasetNotFoundError as error:
            hint = re.search("But '(.*)' has it: point --root there", str(error))
            assert hint is not None
            assert hint[0] in str(examine(name, root))
            assert load_dataset(name, Path(hint[1])).image_root == tree.image_root
        else:  # a layout of another name fits this root as well
            assert dataset.image_root == tree.image_root


def test_an_archive_that_was_not_extracted_is_named(tmp_path):
    folder = tmp_path / "caltech-101"
    folder.mkdir()
    (folder / "101_ObjectCategories.tar.gz").write_bytes(b"")
    assert "101_ObjectCategories.tar.gz' where it lies" in str(examine("caltech101", tmp_path))
    (tmp_path / "dtd-r1.0.1.tar.gz").write_bytes(b"")
    assert "dtd-r1.0.1.tar.gz' where it lies" in str(examine("dtd", tmp_path))


def test_an_empty_folder_does_not_win_over_a_complete_one(tmp_path):
    dtd = PAPER_DATASETS["dtd"]
    (tmp_path / "dtd" / "images").mkdir(parents=True)
    assert "is there, but has no image in it" in str(examine("dtd", tmp_path))
    tree = make_tree("dtd", tmp_path, next(layout for layout in dtd.layouts if layout.folder == "DTD"))
    assert load_dataset("dtd", tmp_path).image_root == tree.image_root


def test_empty_images_are_counted(tmp_path):
    tree = tree_of("eurosat", tmp_path)
    for path, _, _ in tree.lists["train"][:7]:
        (tree.image_root / path).unlink()
        (tree.image_root / path).write_bytes(b"")
    report = examine("eurosat", tmp_path)
    assert report.exit_code == 2
    assert "7 of 30 images are empty files (0 bytes)" in str(report)


@pytest.mark.parametrize(("name", "layout"), [(name, layout) for name, layout in LAYOUTS if "imagenet" not in name])
def test_prepare_leaves_a_ready_tree_ready(tmp_path, name, layout):
    tree = tree_of(name, tmp_path, layout)
    before = load_dataset(name, tmp_path)
    for _ in range(2):
        prepare(PAPER_DATASETS[name], tmp_path, lambda text: None)
        after = load_dataset(name, tmp_path)
        assert after.split == before.split
        assert after.image_root.samefile(tree.image_root)


def test_validation_images_without_folders_are_explained(tmp_path):
    layout = next(layout for layout in PAPER_DATASETS["imagenet"].layouts if layout.folder == "ILSVRC/Data/CLS-LOC")
    tree = make_tree("imagenet", tmp_path, layout, counts=(1, 0, 0))
    (tree.image_root / "val").mkdir()
    (tree.image_root / "val" / "ILSVRC2012_val_00000001.JPEG").write_bytes(b"")
    with pytest.raises(SplitError, match="its images lie flat"):
        load_dataset("imagenet", tmp_path)


def test_the_first_place_of_a_split_file_is_the_data_sets_folder_and_none_is_named_twice(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tree_of("dtd", Path(), split_file=False)
    with pytest.raises(DatasetNotFoundError, match=r"looked for\n  dtd/split_zhou") as caught:
        load_dataset("dtd", Path())
    assert str(caught.value).count("/split_zhou_DescribableTextures.json,") == 2
