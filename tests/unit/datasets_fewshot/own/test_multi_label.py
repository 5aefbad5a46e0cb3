"""Tables with several labels per image: their forms, what is refused, their division, and other readers."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets_fewshot import SplitError, load_own_data
from datasets_fewshot.own.label_table import has_several_labels, read_label_table
from datasets_fewshot.own.multi_label import load_multi_label

IMAGES = 24
LABELS = ("cat", "dog", "owl")
# Image -> its labels: all of them and none occur, and every label is on eight images or more.
WANTED = {f"img/{n:02}.png": [name for place, name in enumerate(LABELS) if n >> place & 1] for n in range(IMAGES)}


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "img").mkdir()
    for number, path in enumerate(WANTED):
        Image.new("RGB", (8, 8), (10 * number, 0, 0)).save(tmp_path / path)
    return tmp_path


def quoted(labels: list[str]) -> str:
    return '"' + json.dumps(labels).replace('"', '""') + '"'


FORMS = {
    "bars.csv": "path,labels\n" + "".join(f"{p},{'|'.join(v)}\n" for p, v in WANTED.items()),
    "lists.csv": "path,label\n" + "".join(f"{p},{quoted(v)}\n" for p, v in WANTED.items()),
    "columns.tsv": "path\tdog\towl\tcat\n"
    + "".join(f"{p}\t{'dog' in v:d}\t{'owl' in v:d}\t{'cat' in v:d}\n" for p, v in WANTED.items()),
    "lines.jsonl": "".join(json.dumps({"image": p, "labels": v}) + "\n" for p, v in WANTED.items()),
    "backwards.csv": "path,labels\n" + "".join(f"{p},{' | '.join(v[::-1])}\n" for p, v in WANTED.items()),
}


def labels_by_path(dataset) -> dict[str, list[str]]:
    items = [item for part in dataset.images.split for item in part]
    rows = dataset.targets(items)
    return {
        item.path: [dataset.classnames[c] for c in np.flatnonzero(row)] for item, row in zip(items, rows, strict=True)
    }


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_labels_in_the_same_order(home, form):
    (home / form).write_text(FORMS[form])
    assert has_several_labels(home / form)
    dataset = load_multi_label(home / form)
    assert dataset.classnames == LABELS
    assert labels_by_path(dataset) == WANTED
    assert any("3 of 24 images have none of the labels" in note for note in dataset.notes)


@pytest.mark.parametrize("form", FORMS)
def test_readers_of_one_class_per_image_refuse_it(home, form):
    (home / form).write_text(FORMS[form])
    with pytest.raises(SplitError, match=r"`adaptkit train` and `eval` learn and test several labels"):
        load_own_data(home / form, keep_split=False)


@pytest.mark.parametrize(
    "table", ["path,class\nimg/01.png,cat\nimg/02.png,dog\n", "path,cat,dog\nimg/01.png,1,0\nimg/02.png,0,1\n"]
)
def test_a_table_with_one_class_per_image_stays_one(home, table):
    (home / "t.csv").write_text(table)
    assert not has_several_labels(home / "t.csv")
    assert [image.labels for image in read_label_table(home / "t.csv").images] == [("cat",), ("dog",)]


def test_one_word_in_a_list_of_json_is_one_label(home):
    (home / "t.jsonl").write_text(
        '{"path": "img/01.png", "labels": ["cat"]}\n{"path": "img/03.png", "labels": ["cat", "dog"]}\n'
    )
    assert [image.labels for image in read_label_table(home / "t.jsonl").images] == [("cat",), ("cat", "dog")]


LIST = 'path,labels\nimg/01.png,"[""cat"", ""dog""]"\n'
REFUSED = {
    "a label twice": ("path,labels\nimg/01.png,cat|dog|cat\n", "line 2 has the label 'cat' twice"),
    "an empty label": ("path,labels\nimg/01.png,cat||dog\n", "line 2 has an empty label"),
    "a word among lists": (LIST + "img/02.png,cat\n", "line 3 has the label 'cat', and"),
    "bars among lists": (LIST + "img/02.png,cat|dog\n", r"line 3 has the label 'cat\|dog'"),
    "no name": ('path,labels\nimg/01.png,"[""cat"", 1.5]"\n', "line 2 has 1.5 among its labels"),
    "other labels": ("path,labels\nimg/01.png,cat|dog\nimg/01.png,cat\n", "line 3: .*'img/01.png' has other labels"),
    "one label": ("path,labels\nimg/01.png,\nimg/02.png,cat\nimg/03.png,cat|\n", "empty label"),
    "no positive": ("path,cat,dog,owl\nimg/01.png,1,1,0\nimg/02.png,0,0,0\n", "no image has the label 'owl'"),
    "part": ("path,labels,split\nimg/01.png,cat|dog,learn\n", "the part is 'learn'"),
    "nothing there": ("path,labels\nnowhere.png,cat|dog\n", "none of its 1 images is there"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_said_with_its_line(home, case):
    table, message = REFUSED[case]
    (home / "t.csv").write_text(table)
    with pytest.raises(SplitError, match=message):
        load_multi_label(home / "t.csv")


def test_one_label_is_no_several(home):
    (home / "t.csv").write_text('path,labels\nimg/01.png,"[""cat""]"\nimg/02.png,[]\n')
    with pytest.raises(ValueError, match="one label only, 'cat'"):
        load_multi_label(home / "t.csv")


def test_a_null_is_no_empty_list(home):
    (home / "t.jsonl").write_text(
        '{"path": "img/01.png", "labels": null}\n{"path": "img/03.png", "labels": ["a", "b"]}\n'
    )
    with pytest.raises(SplitError, match=r"line 1 has no labels; write \[\]"):
        load_multi_label(home / "t.jsonl")


def test_a_label_that_is_none_of_the_given_classes_is_named(home):
    (home / "bars.csv").write_text(FORMS["bars.csv"])
    assert load_multi_label(
        home / "bars.csv", classnames={"cat": "tabby", "dog": "hound", "owl": "owl"}
    ).classnames == (
        "tabby",
        "hound",
        "owl",
    )
    with pytest.raises(ValueError, match="'owl', which is none of the 2 classes that are given"):
        load_multi_label(home / "bars.csv", classnames={"cat": "tabby", "dog": "hound"})


def test_every_label_is_in_every_part_and_the_division_is_kept(home):
    (home / "bars.csv").write_text(FORMS["bars.csv"])
    first = load_multi_label(home / "bars.csv")
    for part, least in zip(first.images.split, (4, 1, 2), strict=True):
        assert (first.targets(part).sum(axis=0) >= least).all()
    assert sum(len(part) for part in first.images.split) == IMAGES
    corrected = FORMS["bars.csv"].replace("img/00.png,", "img/00.png,owl")
    (home / "bars.csv").write_text(corrected)
    again = load_multi_label(home / "bars.csv", seed=2)
    paths = [[item.path for item in part] for part in first.images.split]
    assert [[item.path for item in part] for part in again.images.split] == paths
    assert labels_by_path(again)["img/00.png"] == ["owl"]


def test_the_parts_of_a_table_are_taken_as_they_are(home):
    parts = ["train", "test"] * (IMAGES // 2)
    rows = zip(WANTED.items(), parts, strict=True)
    (home / "t.csv").write_text("path,labels,split\n" + "".join(f"{p},{'|'.join(v)},{s}\n" for (p, v), s in rows))
    dataset = load_multi_label(home / "t.csv")
    assert [item.path for item in dataset.images.split.test] == list(WANTED)[1::2]
    assert not (home / "t.split.json").exists()
    assert any("no training image has the label 'cat'" in note for note in dataset.notes)
