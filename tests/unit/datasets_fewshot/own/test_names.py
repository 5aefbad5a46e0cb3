"""Which name belongs to which class of own data."""

import random

import pytest
from PIL import Image

from datasets_fewshot import load_own_data
from datasets_fewshot.own.found import in_label_order
from datasets_fewshot.own.names import notes_on_names, read_names


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


FORMS = [
    "c1,cat\nc2,dog\n",
    "c1: cat\nc2: dog\n",
    "c1;cat\nc2 ; dog",
    "c1 = cat\nc2=dog",
    "c2\tdog\nc1\tcat",
    "\ufeffc1 cat\nc2 dog",
]


@pytest.mark.parametrize("text", FORMS)
def test_a_class_and_its_name_are_told_apart(tmp_path, text):
    (tmp_path / "names.txt").write_text(text, encoding="utf-8")
    assert read_names(tmp_path / "names.txt", tmp_path, ["c1", "c2"]) == {"c1": "cat", "c2": "dog"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "0 cat\n1 dog\n",
            r"line 1 is '0 cat', which looks like a class and its name.*c1, c2; write lines of class<TAB>",
        ),
        ("0: cat\n1: dog\n", "looks like a class and its name"),
        ("1. cat\n2. dog\n", "looks like a class and its name"),
        ("k1,cat\nk2,dog\n", "looks like a class and its name"),
        ("cat,0\ndog,1\n", "looks like a class and its name"),
        ("c1 cat\ndog\n", "line 2 is 'dog', which names no class of the data as other lines do"),
        ("c1\tcat\nc1\tdog\n", "line 2 calls the class 'c1' 'dog', and a line before calls it 'cat'"),
        ("c1\t\nc2\tdog\n", "line 1 is 'c1'|has the name ''"),
        ("k1\tcat\nk2\tdog\n", "names k1, k2 but the data have the classes c1, c2"),
    ],
)
def test_lines_of_another_form_are_refused_with_the_forms_that_are_read(tmp_path, text, message):
    (tmp_path / "names.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_names(tmp_path / "names.txt", tmp_path, ["c1", "c2"])


def test_names_with_commas_are_names(tmp_path):
    (tmp_path / "names.txt").write_text("tench, Tinca tinca\ngreat white shark, white shark\n")
    assert read_names(tmp_path / "names.txt", tmp_path, ["c1", "c2"])["c1"] == "tench, Tinca tinca"


@pytest.mark.parametrize(
    "content", ['{"c1": 0}', '{"c1": ["cat"]}', '{"c1": ""}', "[1, 2]", '"cat"', "[" * 10_000, "<html>", ""]
)
def test_json_of_another_form_is_refused(tmp_path, content):
    (tmp_path / "names.json").write_text(content)
    with pytest.raises(ValueError, match=r"names\.json"):
        read_names(tmp_path / "names.json", tmp_path, ["c1", "c2"])


def test_a_list_of_all_names_serves_data_with_some_of_the_numbered_classes(tmp_path):
    assert read_names(["a", "b", "c", "d"], tmp_path, ["0", "2"]) == {"0": "a", "2": "c"}
    with pytest.raises(ValueError, match="4 names for 2 classes"):  # 1 and 3 may be counted from 1
        read_names(["a", "b", "c", "d"], tmp_path, ["1", "3"])


def test_a_class_that_the_names_forgot_is_said(tmp_path):
    assert notes_on_names({}, tmp_path, ["a"], {"a": "a"}) == []
    (tmp_path / "classnames.txt").write_text("c1\tcat\n")
    named = read_names(None, tmp_path, ["c1", "c2"])
    assert "1 classes, such as 'c2'" in notes_on_names(None, tmp_path, ["c1", "c2"], named)[0]
