"""What a mapping model learns from: attributes in texts and columns, and boxes from a table."""

import csv

import pytest
import torch
from PIL import Image

from adaptkit.heads.villa import grid_boxes
from datasets_fewshot.own.box_table import read_box_table
from datasets_fewshot.splits.validation import SplitError
from trainers.pairs.region_data import Columns, found_attributes, load_region_data, named_attributes, whole_text


@pytest.fixture
def table(tmp_path):
    rows = [("a.png", "A red door", "red; wooden", "train"), ("b.png", "blue.", "blue, red", "train")]
    rows += [("c.png", "Nothing here", "", "test"), ("d.png", "Red and blue", "red|blue", "val")]
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "caption", "parts", "split"), *rows])
    for name, *_ in rows:
        Image.new("RGB", (40, 20), "red").save(tmp_path / name)
    return tmp_path / "t.csv"


def write_boxes(place, *rows, heading="image,x0,y0,x1,y1"):
    place.write_text("\n".join([heading, *rows]) + "\n", encoding="utf-8")
    return place


def test_attributes_are_looked_for_in_texts_or_in_a_column(table):
    data = load_region_data(str(table), Columns())
    assert [item.path for item in data.images] == ["a.png", "b.png", "d.png", "c.png"]
    assert data.part("val") == [2]
    assert data.texts[0] == "A red door."
    assert data.labels(("red", "blue")).tolist() == [[True, False], [False, True], [True, True], [False, False]]
    by_column = load_region_data(str(table), Columns(caption="caption", attributes="parts"))
    assert by_column.labels(("red", "wooden")).tolist() == [[True, True], [True, False], [True, False], [False, False]]
    assert by_column.texts == data.texts
    assert found_attributes(by_column, "parts", 2) == ("red",)
    assert found_attributes(by_column, "parts", 1) == ("blue", "red", "wooden")
    with pytest.raises(ValueError, match="lower --least"):
        found_attributes(by_column, "parts", 3)
    assert data.source.load(0).size == (40, 20)
    assert torch.equal(data.source.boxes[0], grid_boxes())


def test_attributes_may_stand_in_a_file(tmp_path):
    assert named_attributes("red, blue,red") == ("red", "blue")
    (tmp_path / "names.txt").write_text("red\n\ndark blue\n")
    assert named_attributes(str(tmp_path / "names.txt")) == ("red", "dark blue")
    with pytest.raises(ValueError, match="names no attribute"):
        named_attributes(" , ")
    assert whole_text(["a red door", "It is old. "]) == "a red door. It is old."


def test_boxes_are_shares_or_pixels_and_others_have_those_of_the_grid(table, tmp_path):
    boxes = write_boxes(tmp_path / "boxes.csv", "a.png,10,5,20,20", "a.png,0,0,40,20")
    data = load_region_data(str(table), Columns(), boxes, in_pixels=True)
    torch.testing.assert_close(data.source.boxes[0], torch.tensor([[0.25, 0.25, 0.5, 1], [0, 0, 1, 1]]))
    assert len(data.source.boxes[1]) == 14
    assert "3 images have no box of their own" in data.notes[-1]
    with pytest.raises(ValueError, match="shares of its sides from 0 to 1, or pixels with --pixels"):
        load_region_data(str(table), Columns(), boxes)
    other = write_boxes(tmp_path / "other.csv", "z.png,0,0,1,1")
    with pytest.raises(ValueError, match="none of the 1 images of the table of boxes"):
        load_region_data(str(table), Columns(), other)


@pytest.mark.parametrize(
    ("rows", "heading", "complaint"),
    [
        (["a.png,0,0,x,1"], "image,x0,y0,x1,y1", "line 2: the box is '0, 0, x, 1'"),
        (["a.png,1,0,1,1"], "image,x0,y0,x1,y1", "expected four numbers with 0 <= x0 < x1"),
        (["a.png,0,0,1"], "image,x0,y0,x1", "and no 'y1'"),
        (["1,0,0,1"], "what,x0,y0,x1,y1", "and no 'image'"),
        ([",0,0,1,1"], "image,x0,y0,x1,y1", "line 2 has no image"),
        ([], "image,x0,y0,x1,y1", "lists no box"),
    ],
)
def test_a_table_of_boxes_that_is_none_is_refused(tmp_path, rows, heading, complaint):
    with pytest.raises(SplitError, match=complaint):
        read_box_table(write_boxes(tmp_path / "boxes.csv", *rows, heading=heading))


def test_a_table_of_boxes_is_a_table(tmp_path):
    with pytest.raises(ValueError, match="is no table of boxes"):
        read_box_table(tmp_path / "boxes.json")
