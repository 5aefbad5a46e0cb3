"""The split that is kept beside own data, while people clean, rename and add to them."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from datasets_fewshot import FewShotDataset, SplitError, load_own_data
from datasets_fewshot.own.sources import SPLIT_FILE
from datasets_fewshot.own.usable import check_usable


def notes_of(dataset: FewShotDataset) -> str:
    return " | ".join(dataset.notes)


def parts_of(dataset: FewShotDataset) -> dict[str, str]:
    """Part of every image, by its file's name."""
    return {
        Path(item.path).name: part
        for part, items in zip(("train", "val", "test"), dataset.split, strict=True)
        for item in items
    }


def test_images_that_were_removed_are_counted_and_the_rest_stays_where_it_was(folders):
    before = parts_of(load_own_data(folders))
    for name in ("c10.png", "c11.png"):
        (folders / "camel" / name).unlink()
    dataset = load_own_data(folders)
    assert "2 images of adaptkit_split.json are gone and were left out of its lists, such as 'camel/c1" in notes_of(
        dataset
    )
    assert parts_of(dataset) == {name: part for name, part in before.items() if name not in ("c10.png", "c11.png")}


def test_a_class_that_is_gone_is_named_and_the_others_are_numbered_without_a_gap(folders):
    load_own_data(folders)
    shutil.rmtree(folders / "bear")
    dataset = load_own_data(folders)
    assert "the classes 'bear' of adaptkit_split.json are gone" in notes_of(dataset)
    assert dataset.classnames == ("camel", "cat")
    assert {item.label for part in dataset.split for item in part} == {0, 1}


def test_a_new_class_is_named_and_comes_in_with_a_new_draw(folders):
    load_own_data(folders)
    (folders / "owl").mkdir()
    for shot in range(4):
        Image.new("RGB", (8, 6), (9, 9, shot)).save(folders / "owl" / f"owl{shot}.png")
    dataset = load_own_data(folders)
    assert "the classes 'owl' with 4 images came after adaptkit_split.json was drawn and were left out" in notes_of(
        dataset
    )
    assert "--redraw" in notes_of(dataset)
    assert dataset.classnames == ("bear", "camel", "cat")
    redrawn = load_own_data(folders, redraw=True)
    assert redrawn.classnames == ("bear", "camel", "cat", "owl")
    assert load_own_data(folders).split == redrawn.split


def test_a_renamed_folder_is_recognised(folders):
    before = load_own_data(folders)
    (folders / "bear").rename(folders / "polar bear")
    after = load_own_data(folders)
    assert "the folder 'bear' of adaptkit_split.json is called 'polar bear' now" in notes_of(after)
    assert "gone" not in notes_of(after)
    assert parts_of(after) == parts_of(before)
    assert after.classnames == ("polar bear", "camel", "cat")  # the order of labels is kept


def test_a_renamed_folder_that_was_cleaned_too_is_recognised(folders):
    load_own_data(folders)
    (folders / "bear" / "b00.png").unlink()
    (folders / "bear").rename(folders / "polar bear")
    dataset = load_own_data(folders)
    assert "is called 'polar bear' now" in notes_of(dataset)
    assert "1 images of adaptkit_split.json are gone" in notes_of(dataset)


def test_another_folder_is_not_taken_for_a_renamed_one(folders):
    load_own_data(folders)
    (folders / "bear").rename(folders.parent / "bear")
    (folders / "owl").mkdir()
    for shot in range(8):
        Image.new("RGB", (8, 6), (9, 9, shot)).save(folders / "owl" / f"owl{shot}.png")
    text = notes_of(load_own_data(folders))
    assert "the classes 'bear' of adaptkit_split.json are gone" in text
    assert "the classes 'owl' with 8 images came after" in text


def test_a_class_without_a_training_image_left_is_never_silent(folders):
    kept = load_own_data(folders).split
    for item in kept.train:
        if item.classname == "bear":
            (folders / item.path).unlink()
    dataset = load_own_data(folders)
    assert "no training image of 'bear'" in " ".join(check_usable(dataset))
    assert dataset.classnames == ("bear", "camel", "cat")


def test_images_that_are_all_gone_ask_for_a_new_draw(folders):
    load_own_data(folders)
    for folder in ("bear", "camel", "cat"):
        (folders / folder).rename(folders / f"new {folder}")
        for place, image in enumerate(sorted((folders / f"new {folder}").iterdir())):
            image.rename(image.with_name(f"{folder}{place}.png"))
    with pytest.raises(SplitError, match=r"lists 24 images, and none of them is there any more.*--redraw"):
        load_own_data(folders)
    assert len(load_own_data(folders, redraw=True).split.train) == 12


@pytest.mark.parametrize("content", ["", "{", "[]", '{"train": []}', "\0", '{"train": [], "val": [], "test": []}'])
def test_a_damaged_file_says_to_repair_or_delete_it(folders, content):
    (folders / SPLIT_FILE).write_text(content)
    with pytest.raises(SplitError, match=r"adaptkit_split\.json.*(delete it|--redraw)"):
        load_own_data(folders)
    assert (folders / SPLIT_FILE).read_text() == content


def test_a_split_that_somebody_else_made_is_not_replaced(folders):
    rows = [[f"bear/b0{shot}.png", 0, "bear"] for shot in range(3)]
    (folders / SPLIT_FILE).write_text(json.dumps({"train": rows[:1], "val": rows[1:2], "test": rows[2:]}))
    with pytest.raises(SplitError, match=r"was not drawn by adaptkit.*move it away"):
        load_own_data(folders, redraw=True)


def test_a_split_that_is_not_drawn_cannot_be_drawn_again(folders):
    rows = [["bear/b00.png", 0, "bear"], ["cat/c20.png", 1, "cat"]]
    mine = folders.parent / "mine.json"
    mine.write_text(json.dumps({"train": rows, "val": [], "test": []}))
    with pytest.raises(ValueError, match=r"--redraw: the split .* is not drawn"):
        load_own_data(folders, split=mine, redraw=True)


def test_a_split_file_of_ones_own_goes_on_without_images_that_are_gone(folders):
    rows = [["gone/1.png", 0, "gone"], ["bear/b00.png", 1, "bear"], ["cat/c20.png", 2, "cat"], ["cat/c9.png", 2, "cat"]]
    mine = folders.parent / "mine.json"
    mine.write_text(json.dumps({"train": rows, "val": [], "test": []}))
    dataset = load_own_data(folders, split=mine)
    assert "2 of the 4 images of mine.json are gone and were left out, such as 'cat/c9.png'" in notes_of(dataset)
    assert "the classes gone of mine.json are gone" in notes_of(dataset)
    assert dataset.classnames == ("bear", "cat")
    mine.write_text(json.dumps({"train": rows[:1], "val": [], "test": []}))
    with pytest.raises(SplitError, match=r"1 of 1 images are not below"):
        load_own_data(folders, split=mine)


def test_val_is_the_test_part_only_where_that_is_asked_for(folders):
    (folders / "bear").rename(folders / "bear away")
    for part in ("train", "val"):
        shutil.copytree(folders / "cat", folders / "parts" / part / "cat")
        shutil.copytree(folders / "camel", folders / "parts" / part / "camel")
    plain = load_own_data(folders / "parts")
    assert not plain.split.test
    with pytest.raises(ValueError, match=r"no test images.*16 val images with --val-as-test"):
        check_usable(plain)
    asked = load_own_data(folders / "parts", val_as_test=True)
    assert (len(asked.split.val), len(asked.split.test)) == (0, 16)
    assert "16 test images have the same pixels as images for training" in notes_of(asked)
    with pytest.raises(ValueError, match=r"--val-as-test: .* has 24|--val-as-test: .* has \d+ test images of its own"):
        load_own_data(folders / "parts" / "train", val_as_test=True)
