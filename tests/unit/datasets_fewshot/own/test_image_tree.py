"""What stands in folders besides images of classes: it is read where it can be, and never left out in silence."""

import os
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets_fewshot import FewShotDataset, SplitError, load_own_data
from datasets_fewshot.images import read
from datasets_fewshot.own.usable import check_usable


def notes_of(dataset: FewShotDataset) -> str:
    return " | ".join(dataset.notes)


def count(dataset: FewShotDataset) -> int:
    return sum(len(part) for part in dataset.split)


def picture(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), (value, 99, 7)).save(path, format="PNG")
    return path


def test_a_jfif_is_a_jpeg(folders):
    Image.new("RGB", (8, 6), (1, 2, 3)).save(folders / "cat" / "a.jfif", format="JPEG")
    assert count(load_own_data(folders)) == 25


@pytest.mark.parametrize("ending", [".heic", ".avif", ".svg", ".psd", ".NEF", ".mp4"])
def test_files_of_formats_that_are_not_read_are_counted_with_what_to_do(folders, ending, monkeypatch):
    plain = read.IMAGE_SUFFIXES - {".heic", ".heif", ".avif"}
    for module in ("own.image_tree", "own.left_out"):
        monkeypatch.setattr(f"datasets_fewshot.{module}.IMAGE_SUFFIXES", plain)
    for place in range(3):
        (folders / "cat" / f"{place}{ending}").write_bytes(b"x")
    note = notes_of(load_own_data(folders))
    assert f"3 files that end in {ending.lower()} were left out" in note
    assert "convert them to .jpg or .png" in note
    assert ("pip install pillow-heif" in note) == (ending == ".heic")


def test_images_without_an_ending_are_counted_and_other_files_are_not(folders):
    picture(folders / "cat" / "12345")
    (folders / "cat" / "README").write_text("three cats")
    for name in ("._c20.png", ".DS_Store", "Thumbs.db", "desktop.ini"):
        (folders / "cat" / name).write_bytes(b"\0")
    dataset = load_own_data(folders)
    assert count(dataset) == 24
    assert "1 images without an ending were left out, such as '12345'" in notes_of(dataset)


@pytest.mark.parametrize("link", [False, True], ids=["itself", "a link to it"])
def test_pipes_devices_and_sockets_are_left_out_and_nobody_waits_for_them(folders, link):
    elsewhere = folders.parent / "elsewhere"
    elsewhere.mkdir()
    os.mkfifo((elsewhere if link else folders / "cat") / "pipe.png")
    with socket.socket(socket.AF_UNIX) as bound:
        os.chdir(elsewhere if link else folders / "cat")  # paths of sockets are short
        bound.bind("socket.png")
        os.chdir("/")
        if link:
            for name in ("pipe.png", "socket.png"):
                (folders / "cat" / name).symlink_to(elsewhere / name)
        (folders / "cat" / "zero.png").symlink_to("/dev/zero")
        dataset = load_own_data(folders)
    assert count(dataset) == 24
    assert "3 pipes, sockets or devices were left out: 'pipe.png', 'socket.png', 'zero.png'" in notes_of(dataset)


def test_links_that_lead_to_themselves_are_unreadable_images(folders):
    (folders / "cat" / "round.png").symlink_to("round.png")
    (folders / "cat" / "folder").symlink_to("folder")
    with pytest.raises(ValueError, match=r"1 images cannot be read: 'cat/round\.png'"):
        load_own_data(folders)
    assert count(load_own_data(folders, skip_bad=True)) == 24


def test_many_folders_that_link_to_each_other_end(folders):
    for one in range(12):
        (folders / "cat" / f"f{one}").mkdir()
        picture(folders / "cat" / f"f{one}" / f"{one}.png", one)
        for other in range(12):
            (folders / "cat" / f"f{one}" / f"to{other}").symlink_to(folders / "cat" / f"f{other}")
    assert count(load_own_data(folders)) == 36  # paths through the links are 12! in number


def test_names_that_are_not_in_utf8_are_left_out_and_said(folders):
    for name in (b"b\xe4r.png", b"b\xe4ren"):
        path = os.fsencode(folders / "cat") + b"/" + name
        if name.endswith(b".png"):
            picture(Path(os.fsdecode(path)))
        else:
            Path(os.fsdecode(path)).mkdir()
            picture(Path(os.fsdecode(path + b"/1.png")))
    Path(os.fsdecode(os.fsencode(folders) + b"/\xff")).mkdir()
    dataset = load_own_data(folders)
    assert count(dataset) == 24
    assert "3 files or folders were left out, because their names are not in UTF-8" in notes_of(dataset)
    notes_of(dataset).encode()


def test_the_same_pixels_in_training_and_test_are_noted(folders):
    dataset = load_own_data(folders)
    train, test = dataset.split.train[0], dataset.split.test[-1]
    Image.open(folders / train.path).convert("RGB").save(folders / test.path, compress_level=1)
    text = notes_of(load_own_data(folders))
    assert f"1 test images have the same pixels as images for training or validation, such as {test.path!r}" in text
    assert "1 images have the same pixels as one of another class" in text
    assert notes_of(load_own_data(folders)) == text  # what was seen is remembered


def test_class_folders_one_level_down_are_explained(folders):
    dataset = load_own_data(folders.parent)
    assert dataset.classnames == ("photos",)
    with pytest.raises(ValueError, match=r"one class only, 'photos'.*its folders bear, camel, cat; .* give the folder"):
        check_usable(dataset)


def test_a_class_of_one_folder_inside_another_says_nothing(folders):
    (folders / "cat").rename(folders / "cats")
    (folders / "cat").mkdir()
    (folders / "cats").rename(folders / "cat" / "all")
    assert "as one class" not in notes_of(load_own_data(folders))


def test_a_class_called_train_is_explained(folders):
    (folders / "cat").rename(folders / "train")
    dataset = load_own_data(folders)
    assert dataset.classnames == ("bear", "camel", "train")
    assert "the folder 'train' counts as a class of that name" in notes_of(dataset)


def test_a_flat_test_folder_is_explained(folders):
    for name in ("bear", "camel", "cat"):
        (folders / "train").mkdir(exist_ok=True)
        (folders / name).rename(folders / "train" / name)
    picture(folders / "test" / "0.png")
    picture(folders / "extra" / "1.png")
    dataset = load_own_data(folders)
    text = notes_of(dataset)
    assert "the folder 'test' was left out: it holds 1 images and no class folders" in text
    assert "the folder 'extra' was left out, because it lies beside 'train'" in text
    with pytest.raises(ValueError, match=r"no test images.*give the train folder alone.*'test' was left out"):
        check_usable(dataset)


@pytest.mark.parametrize("parts", [("train",), ("train", "test"), ("train", "val", "test")])
def test_parts_without_class_folders_are_no_classes(tmp_path, parts):
    for place, part in enumerate(parts):
        picture(tmp_path / part / "0.png", place)
    with pytest.raises(SplitError, match=r"hold images and no class folders, so the classes are unknown"):
        load_own_data(tmp_path)


def test_a_test_part_alone_is_a_part(folders):
    (folders.parent / "data").mkdir()
    folders.rename(folders.parent / "data" / "test")
    dataset = load_own_data(folders.parent / "data")
    assert [len(part) for part in dataset.split] == [0, 0, 24]


def test_images_beside_the_class_folders_are_counted(folders):
    picture(folders / "loose.png")
    assert "1 images lie in no class folder, but in 'photos' itself" in notes_of(load_own_data(folders))


def test_a_folder_of_images_and_a_table_names_the_table(tmp_path):
    picture(tmp_path / "0.png")
    (tmp_path / "labels.csv").write_text("path,class\n0.png,cat\n")
    with pytest.raises(SplitError, match=r"1 images lie in no class folder|labels\.csv"):
        load_own_data(tmp_path)


def test_classes_of_one_name_are_said_and_not_trained(folders):
    (folders / "bear").rename(folders / "golden_retriever")
    (folders / "cat").rename(folders / "Golden Retriever")
    dataset = load_own_data(folders)
    assert "'Golden Retriever' and 'golden_retriever'" in notes_of(dataset)
    with pytest.raises(ValueError, match=r"1 names stand for two classes.*name the classes apart"):
        check_usable(dataset)


def test_two_classes_that_are_given_one_name_are_said(folders):
    dataset = load_own_data(folders, classnames={"bear": "pet", "cat": "pet"})
    assert "'pet' and 'pet'" in notes_of(dataset)


def test_a_pixel_of_one_value_is_not_black(tmp_path):
    """Floats from 0 to 1, and eight bits in a file of sixteen."""
    for name, values in {
        "unit.tif": np.full((6, 8), 0.5, dtype=np.float32),
        "byte.tif": np.full((6, 8), 127.5, dtype=np.float32),
        "word.tif": np.full((6, 8), 32768, dtype=np.float32),
        "16.png": np.full((6, 8), 32768, dtype=np.uint16),
        "8 in 16.png": np.full((6, 8), 128, dtype=np.uint16),
    }.items():
        Image.fromarray(values).save(tmp_path / name)
        assert read.load_image(tmp_path / name, "upright").getpixel((0, 0)) in {(127,) * 3, (128,) * 3}, name


@pytest.mark.parametrize("value", [np.nan, -1, 1e6])
def test_floats_of_no_known_range_are_refused(tmp_path, value):
    Image.fromarray(np.full((6, 8), value, dtype=np.float32)).save(tmp_path / "odd.tif")
    with pytest.raises(read.BadImageError, match="its values go from"):
        read.load_image(tmp_path / "odd.tif", "upright")
