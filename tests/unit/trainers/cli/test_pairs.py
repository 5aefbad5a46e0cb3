import argparse
import json

import pytest
from PIL import Image

from trainers.cli import pairs


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def table(tmp_path):
    """Four images in two parts; two of them are equal, and one caption is of two images."""
    for number, color in enumerate((10, 10, 90, 170)):
        Image.new("RGB", (8, 6), (color, 0, 0)).save(tmp_path / f"{number}.png")
    (tmp_path / "t.csv").write_text(
        "image,caption,what,split\n0.png,a red thing,a,train\n0.png,dark,a,train\n1.png,dark,b,test\n"
        "2.png,a thing that is red,c,train\n3.png,light,c,train\n"
    )
    return tmp_path / "t.csv"


def run(*words: object) -> int:
    parser = argparse.ArgumentParser()
    pairs.add_parsers(parser.add_subparsers(required=True))
    args = parser.parse_args([str(word) for word in words])
    return args.run(args)


def test_check_counts_what_a_table_holds(table, capsys):
    assert run("pairs", "check", table, "--group-column", "what") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "t: 4 images, 5 captions, 3 groups"
    assert "  train  3 images, 4 captions, 2 groups" in said
    assert "  test   1 images, 1 captions, 1 groups" in said
    assert "  captions per image: 1 to 2, mean 1.25, median 1" in said
    assert "  words per caption: 1 to 5, mean 2.20, median 1" in said
    assert "  captions that several images have: 1" in said
    assert "  images of equal pixels: 2, in different parts: 2" in said
    assert "  unreadable images: 0" in said
    assert "  note: no image is in the part val" in said


def test_the_json_holds_the_same(table, capsys):
    assert run("pairs", "check", table, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["parts"]["train"] == {"images": 3, "captions": 4, "groups": 3}
    assert facts["caption_words"] == {"least": 1, "median": 1, "mean": 2.2, "most": 5}
    assert facts["images_of_equal_pixels"] == 2


def test_unreadable_images_are_named_and_make_the_exit_code(table, capsys):
    (table.parent / "2.png").write_bytes(b"\x89PNG\r\n")
    assert run("pairs", "check", table) == 2
    assert "  unreadable images: 1 ('2.png')" in capsys.readouterr().out


def test_columns_and_encoding_may_be_named(table):
    table.write_bytes("photo,what I see\n0.png,caf\xe9\n1.png,bar\n".encode("cp1252"))
    named = ["--image-column", "photo", "--caption-column", "what I see", "--encoding", "cp1252"]
    assert run("pairs", "check", table, *named) == 0


@pytest.mark.parametrize("name", ["mini_pairs", "mini_pairs_long"])
def test_check_counts_the_embedded_pairs(name, capsys):
    assert run("pairs", "check", name, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["images"], facts["unreadable"]) == (1843, [])
    assert facts["of_them_in_other_parts"] == 0
