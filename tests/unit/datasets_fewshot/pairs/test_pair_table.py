"""Tables of images and captions as people write them: one caption a row, or a list of them."""

import json
import os
from pathlib import Path

import pytest

from datasets_fewshot import SplitError
from datasets_fewshot.pairs.load import load_pairs
from datasets_fewshot.pairs.pair_set import PairSet

WANTED = {f"img/{number}.png": (f"number {number}", f"the {number}") for number in range(6)}


def everything(pairs: PairSet) -> dict[str, tuple[str, ...]]:
    return {item.path: item.captions for part in (pairs.train, pairs.val, pairs.test) for item in part}


def table(home: Path, name: str, text: str) -> Path:
    (home / name).write_text(text, encoding="utf-8")
    return home / name


def rows(form: str) -> str:
    return "".join(form.format(path=path, caption=own) + "\n" for path, both in WANTED.items() for own in both)


def json_lines(**more: object) -> str:
    return "".join(json.dumps({"image": path, "captions": both, **more}) + "\n" for path, both in WANTED.items())


TABLES = {
    "plain.csv": "image,caption\n" + rows("{path},{caption}"),
    "tabbed.tsv": "file_name\ttext\n" + rows("{path}\t{caption}"),
    "kaggle.csv": "image_name| comment_number| comment\n" + rows("{path}| 0| {caption}"),
    "flickr8k.txt": "image,caption\n" + rows("{path},{caption}"),
    "lists.jsonl": json_lines(),
    "lists_in_cells.tsv": "image\tcaptions\n" + "".join(f"{p}\t{json.dumps(both)}\n" for p, both in WANTED.items()),
    "single.jsonl": "".join(
        json.dumps({"filename": path, "caption": own}) + "\n" for path, both in WANTED.items() for own in both
    ),
    "moved.csv": "image,caption\n" + rows("C:\\photos\\{path},{caption}"),
}


@pytest.mark.parametrize("name", TABLES)
def test_every_form_of_table_gives_the_same_pairs(home, name):
    file = table(home, name, TABLES[name].replace("\\photos\\img/", "\\photos\\img\\"))
    assert everything(load_pairs(file)) == WANTED


def test_columns_may_be_named(home):
    file = table(home, "odd.csv", "caption,file,what i see,set_of\n" + rows("x,{path},{caption},all"))
    pairs = load_pairs(file, image_column="file", caption_column="What I see", group_column="set of")
    assert everything(pairs) == WANTED
    assert {item.group for part in (pairs.train, pairs.val, pairs.test) for item in part} == {"all"}


def test_another_encoding_may_be_named(home):
    (home / "old.csv").write_bytes("image,caption\nimg/0.png,caf\xe9\nimg/1.png,bar\n".encode("cp1252"))
    with pytest.raises(SplitError, match="encoding"):
        load_pairs(home / "old.csv")
    assert everything(load_pairs(home / "old.csv", encoding="cp1252"))["img/0.png"] == ("café",)


def test_given_parts_are_kept(home):
    body = "".join(f"img/{n}.png,n {n},{part}\n" for n, part in enumerate(["train", "test", "VAL", "train"]))
    pairs = load_pairs(table(home, "parts.csv", "image,caption,split\n" + body))
    assert [[item.path for item in part] for part in (pairs.train, pairs.val, pairs.test)] == [
        ["img/0.png", "img/3.png"],
        ["img/2.png"],
        ["img/1.png"],
    ]


@pytest.mark.parametrize(
    ("body", "note"),
    [
        ("img/0.png,a\nimg/1.png,b\nimg/1.png, \n", "1 empty captions were left out, the first in t.csv: line 4"),
        ("img/0.png,a\nimg/1.png,b\nimg/1.png,b\n", "1 pairs repeat an image with its caption"),
        ("img/0.png,a\nimg/1.png,b\nimg/2.png,\n", "1 images have no caption and were left out: 'img/2.png'"),
        ("img/0.png,a\nimg/1.png,b\nimg/77.png,c\n", "1 of 3 images are not there and were left out"),
        ("img/0.png,a\nimg/1.png,b\n,c\n", "1 rows name no image and were left out, the first is t.csv: line 4"),
    ],
)
def test_what_is_left_out_is_counted_in_a_note(home, body, note):
    pairs = load_pairs(table(home, "t.csv", "image,caption\n" + body))
    assert any(note in said for said in pairs.notes), pairs.notes
    assert everything(pairs) == {"img/0.png": ("a",), "img/1.png": ("b",)}


def test_a_note_says_which_of_two_columns_is_read(home):
    pairs = load_pairs(table(home, "t.csv", "image,title,caption\nimg/0.png,x,a\nimg/1.png,y,b\n"))
    assert "captions are read from the column 'caption' before 'title'" in pairs.notes


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("t.csv", "image,caption\nimg/0.png,a\nimg/1.png,a\n", "all 2 images have the caption 'a'"),
        ("t.csv", "image,caption\nimg/0.png,\nimg/1.png, \n", "none of its 2 images has a caption"),
        ("t.csv", "image,caption\nimg/7.png,a\nimg/8.png,b\n", "none of its images is there"),
        ("t.csv", "image,caption\n../x.png,a\nimg/0.png,b\n", "climbs out with '..'"),
        ("t.csv", "image,caption\n", "lists no image"),
        ("t.csv", "", "lists no image"),
        ("t.csv", "image,colour\nimg/0.png,red\n", "none of them is one of captions"),
        ("t.csv", "photo,caption\nimg/0.png,red\n", "none of them is one of images"),
        ("t.csv", "image,caption,Caption\nimg/0.png,a,b\n", "two columns called"),
        ("t.csv", "image,caption\nimg/0.png,red, round\n", "3 cells under 2 columns"),
        ("t.csv", 'image,caption\nimg/0.png,"red\n', "close its quotes"),
        ("t.csv", "image,caption,split\nimg/0.png,a,holdout\n", "use train, val or test"),
        ("t.csv", "image,caption,split\nimg/0.png,a,train\nimg/1.png,b,\n", "name it for all or for none"),
        ("t.csv", "image,caption,split\nimg/0.png,a,train\nimg/0.png,b,test\n", "the part 'test' here and 'train'"),
        ("t.csv", "image,caption,group\nimg/0.png,a,x\nimg/0.png,b,y\n", "the group 'y' here and 'x'"),
        ("t.csv", "image,caption,group,split\nimg/0.png,a,x,train\nimg/1.png,b,x,test\n", "1 groups have images in"),
        ("t.jsonl", '{"image": "img/0.png", "caption": {"en": "a"}}\n', "expected a text, or a list of texts"),
        ("t.jsonl", '{"image": ["img/0.png"], "caption": "a"}\n', "expected text"),
        ("t.jsonl", '{"image": "img/0.png", "caption": "\\ud800"}\n', "write it in UTF-8"),
        ("t.jsonl", '["img/0.png", "a"]\n', 'expected {"image": ..., "caption": ...}'),
        ("t.jsonl", '{"image": \n', "line 1 is not JSON"),
        ("t.jsonl", "[" * 100_000 + "\n", "is not JSON"),
    ],
)
def test_bad_tables_are_one_clear_error(home, name, text, error):
    with pytest.raises(SplitError) as caught:
        load_pairs(table(home, name, text))
    assert error in str(caught.value)


def test_an_absolute_path_outside_the_folder_is_not_read(home):
    secret = home.parent / f"{home.name}_secret.png"
    secret.write_bytes((home / "img" / "0.png").read_bytes())
    pairs = load_pairs(table(home, "t.csv", f"image,caption\nimg/0.png,a\nimg/1.png,b\n{secret},c\n"))
    assert set(everything(pairs)) == {"img/0.png", "img/1.png"}


def test_a_pipe_in_the_place_of_a_table_is_an_error(home):
    os.mkfifo(home / "t.csv")
    with pytest.raises(ValueError, match=r"t\.csv"):
        load_pairs(home / "t.csv")


def test_a_path_where_nothing_is_names_the_embedded_sets(home):
    with pytest.raises(FileNotFoundError, match="mini_pairs"):
        load_pairs(home / "nothing")
