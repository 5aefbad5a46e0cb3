"""How the embedded pairs are made: captions from what people wrote, and parts from things."""

import pytest
from PIL import Image

pytest.importorskip("resvg_py", reason="the recipe of the embedded suite draws with resvg_py")

from datasets_fewshot.mini.recipe.captions import (
    Drawing,
    chosen,
    clipart_captions,
    emoji_captions,
    join_things,
    part_of_thing,
    rows,
    thing_of,
)
from datasets_fewshot.mini.recipe.clipart_texts import ClipartText, read_clipart_texts
from datasets_fewshot.mini.recipe.emoji import Emoji

APPLE = Emoji("1F34E", "red apple", ("apple", "diet", "food", "fruit", "ripe", "100"), "food-drink", "food-fruit", 1)


def drawing(path: str, title: str, is_held: bool = False, *captions: str) -> Drawing:
    return Drawing(path, captions or (f"a {title}",), title, is_held)


def test_an_emoji_has_captions_of_its_name_kind_keywords_and_group():
    assert emoji_captions(APPLE, None) == (
        "a drawing of a red apple",
        "red apple, a kind of fruit",
        "red apple: diet, food, ripe",
        "a picture about fruit, diet, food and ripe",
        "an emoji of a red apple among food and drink",
    )
    assert "a cartoon of a pippin" in emoji_captions(APPLE, "pippin")


def test_clip_art_has_captions_of_its_title_description_class_and_keywords():
    text = ClipartText("pocket trumpet", "trumpet in key of b flat", ("music", "equipment", "brass"))
    assert clipart_captions(text, "music") == (
        "clip art of a pocket trumpet",
        "trumpet in key of b flat",
        "music: pocket trumpet",
        "pocket trumpet, equipment and brass",
        "a picture about music, equipment and brass",
    )
    assert clipart_captions(ClipartText("egypt", "", ()), "flag") == ("clip art of the egypt flag",)


def test_a_title_is_of_the_longest_emoji_that_it_names():
    emoji: dict[str, list[Drawing]] = {"glass": [], "wine glass": [], "win": []}
    assert thing_of("big wine glass", emoji) == "wine glass"
    assert thing_of("winner", emoji) == "winner"


@pytest.fixture
def looks(tmp_path):
    (tmp_path / "openclipart.zip").mkdir()
    for name, box in (("one_01", (0, 0, 20, 64)), ("two_01", (0, 40, 64, 64)), ("two_02", (0, 40, 64, 64))):
        image = Image.new("RGB", (64, 64), "white")
        image.paste((0, 0, 0), box)
        image.save(tmp_path / "openclipart.zip" / f"{name}.png")
    return tmp_path


def test_drawings_of_one_thing_are_joined(looks):
    emoji = {"glass": [drawing("emoji.zip/a", "glass")]}
    clipart = [
        drawing("openclipart.zip/one_01.png", "martini glass"),
        drawing("openclipart.zip/two_01.png", "box"),
        drawing("openclipart.zip/two_02.png", "crate"),
    ]
    joined = join_things(emoji, clipart, looks)
    assert {name: len(own) for name, own in joined.items()} == {"glass": 2, "box": 2}


def test_what_a_data_set_tests_on_is_never_learnt_of():
    clipart = drawing("openclipart.zip/x", "x", True)
    for number in range(200):
        assert part_of_thing(str(number), [clipart, drawing("emoji.zip/y", "x")]) != "train"
    parts = {part_of_thing(str(number), [drawing("emoji.zip/y", "x")]) for number in range(200)}
    assert parts == {"train", "val", "test"}
    emoji = [drawing("emoji.zip/emojitwo/1", "x"), drawing("emoji.zip/twemoji/1", "x", True)]
    assert [own.path for own in chosen(emoji, "train")] == ["emoji.zip/emojitwo/1"]
    assert [own.path for own in chosen(emoji, "test")] == ["emoji.zip/twemoji/1"]


def test_a_caption_of_two_things_is_left_out():
    things = {
        "cat": [drawing("emoji.zip/1", "cat", False, "a cat", "an animal")],
        "dog": [drawing("emoji.zip/2", "dog", False, "a dog", "an animal")],
    }
    assert [captions for _, _, captions, _ in rows(things)] == [["a cat"], ["a dog"]]


SVG = """<svg><metadata><rdf:RDF><cc:Work><dc:title>{title}</dc:title><dc:description>{text}</dc:description>
<dc:subject><rdf:Bag><rdf:li></rdf:li><rdf:li>bird</rdf:li><rdf:li>hash(0x8a3)</rdf:li></rdf:Bag></dc:subject>
</cc:Work></rdf:RDF></metadata></svg>"""


@pytest.mark.parametrize(
    ("name", "title", "text", "found"),
    [
        ("rooster_01", "Rooster", "a red rooster", ClipartText("rooster", "a red rooster", ("bird",))),
        ("rooster_02", "Rooster", "made by someone@example.org", ClipartText("rooster", "", ("bird",))),
        ("rooster_03", "Various Cliparts", "", None),
        ("hen_01", "Rooster", "", None),
        ("gallo_01", "Gallo", "", None),
    ],
)
def test_titles_are_taken_where_they_say_what_is_drawn(tmp_path, name, title, text, found):
    folder = tmp_path / "raw/openclipart-svg/usr/share/openclipart/svg/animals"
    folder.mkdir(parents=True)
    (folder / f"{name}.svg").write_text(SVG.format(title=title, text=text))
    assert read_clipart_texts(tmp_path, ["rooster", "red", "bird"]).get(f"animals-{name}") == found
