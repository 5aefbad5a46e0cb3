import json
import os

import pytest

from datasets_fewshot import load_dataset
from datasets_fewshot.images import folder_index
from datasets_fewshot.images.folder_index import index_folders
from datasets_fewshot.paper_format.facts import imagenet_family_wnids


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("ADAPTKIT_CACHE", str(folder))
    return folder


@pytest.fixture
def listed(monkeypatch):
    """The folders whose files were listed."""
    folders = []
    list_names = folder_index._image_names

    def listing(folder):
        folders.append(folder.name)
        return list_names(folder)

    monkeypatch.setattr(folder_index, "_image_names", listing)
    return folders


@pytest.fixture
def images(tmp_path):
    for name in ("b", "a", ".hidden"):
        (tmp_path / name).mkdir()
        for file in ("2.JPEG", "1.jpg", "notes.txt", "._1.jpg"):
            (tmp_path / name / file).touch()
    (tmp_path / "README.txt").touch()
    return tmp_path


def test_folders_and_images_come_sorted(images):
    index = index_folders(images)
    assert list(index) == ["a", "b"]
    assert index["a"] == ["1.jpg", "2.JPEG"]


def test_a_second_scan_lists_no_folder(images, listed):
    first = index_folders(images)
    assert listed == ["a", "b"]
    assert index_folders(images) == first
    assert listed == ["a", "b"]


@pytest.mark.parametrize("change", ["added file", "removed file", "added folder"])
def test_a_change_is_seen(images, listed, change):
    index_folders(images)
    if change == "added file":
        (images / "a" / "3.jpg").touch()
    elif change == "removed file":
        (images / "a" / "1.jpg").unlink()
    else:
        (images / "c").mkdir()
    os.utime(images / "a", ns=(0, 12345))  # a change within the clock's tick would keep the folder's time
    index = index_folders(images)
    assert ("3.jpg" in index["a"]) == (change == "added file")
    assert ("1.jpg" in index["a"]) == (change != "removed file")
    assert ("c" in index) == (change == "added folder")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 0}', '{"format": 1, "times": {}, "names": {}}'])
def test_a_damaged_memory_is_made_anew(images, own_cache, content):
    first = index_folders(images)
    (file,) = (own_cache / "indexes").iterdir()
    file.write_text(content)
    assert index_folders(images) == first
    assert json.loads(file.read_text())["names"] == first


@pytest.mark.parametrize("names", [None, [], {}, {"a": "1.jpg", "b": []}, {"a": [1], "b": []}])
def test_an_index_of_other_types_is_made_anew(images, own_cache, names):
    first = index_folders(images)
    (file,) = (own_cache / "indexes").iterdir()
    file.write_text(json.dumps(json.loads(file.read_text()) | {"names": names}))
    assert index_folders(images) == first


def test_an_index_that_is_nested_deeply_is_made_anew(images, own_cache):
    first = index_folders(images)
    (file,) = (own_cache / "indexes").iterdir()
    file.write_text("[" * 100_000)
    assert index_folders(images) == first


def test_a_cache_that_cannot_be_written_costs_only_time(images, tmp_path, monkeypatch):
    blocker = tmp_path / "a file"
    blocker.touch()
    monkeypatch.setenv("ADAPTKIT_CACHE", str(blocker))
    assert list(index_folders(images)) == ["a", "b"]


@pytest.mark.slow
def test_an_index_as_large_as_imagenet_comes_from_memory(tmp_path, listed):
    """1.3 million entries; benchmarks/imagenet_index.py prints how long it takes."""
    for part, count in (("train", 1281), ("val", 50)):
        for wnid in imagenet_family_wnids("imagenet"):
            folder = tmp_path / "imagenet" / "images" / part / wnid
            folder.mkdir(parents=True)
            (folder / f"{wnid}_0.JPEG").touch()
            for index in range(1, count):
                os.link(folder / f"{wnid}_0.JPEG", folder / f"{wnid}_{index}.JPEG")
    first = load_dataset("imagenet", tmp_path)
    assert len(listed) == 2000
    again = load_dataset("imagenet", tmp_path)
    assert len(listed) == 2000
    assert again == first
    assert [len(items) for items in again.split] == [1_281_000, 0, 50_000]
