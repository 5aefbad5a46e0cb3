"""Which name belongs to which class of own data."""

import random

import pytest
from PIL import Image

from datasets_fewshot import load_own_data
from datasets_fewshot.own.found import in_label_order
from datasets_fewshot.own.names import read_names


def test_classes_that_are_numbers_are_ordered_by_number():
    assert in_label_order(["10", "2", "1", "0", "11"]) == ("0", "1", "2", "10", "11")
    assert in_label_order(["100", "020", "3"]) == ("3", "020", "100")
    assert in_label_order(["10", "2", "two"]) == ("10", "2", "two")  # not all are numbers: by letters


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("form", ["folders", "table"])
def test_a_plain_list_of_names_meets_the_numbered_classes(tmp_path, first, form):
    classes = [str(number) for number in range(first, first + 12)]
    names = [f"name of {number}" for number in classes]
    shuffled = [(name, shot) for name in classes for shot in range(3)]
    random.Random(0).shuffle(shuffled)
    for name, shot in shuffled:
        (tmp_path / "images" / name).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (int(name) * 9, shot * 60, 0)).save(tmp_path / "images" / name / f"{shot}.png")
    place = tmp_path / "images"
    if form == "table":
        place = tmp_path / "table.csv"
        place.write_text("path,label\n" + "".join(f"images/{name}/{shot}.png,{name}\n" for name, shot in shuffled))
    dataset = load_own_data(place, classnames=names)
    assert {item.path.split("/")[-2]: item.classname for part in dataset.split for item in part} == dict(
        zip(classes, names, strict=True)
    )
    assert dataset.classnames == tuple(names)


def test_a_list_is_refused_where_the_order_of_classes_is_not_certain(tmp_path):
    classes = in_label_order(["c1", "c2", "c10"])
    with pytest.raises(ValueError, match=r"name 2 belongs to the class 'c10' \(by letters\) or 'c2' \(by number\)"):
        read_names(["a", "b", "c"], tmp_path, classes)
    assert read_names({"c1": "a", "c2": "b", "c10": "c"}, tmp_path, classes)["c10"] == "c"
    assert read_names(["a", "b"], tmp_path, in_label_order(["c2", "c1"])) == {"c1": "a", "c2": "b"}
