import numpy as np
import pytest
from PIL import Image

pytest.importorskip("resvg_py", reason="the recipe of the embedded suite draws with resvg_py")

from datasets_fewshot.mini.recipe import art, clipart, emoji, icons, packing


@pytest.mark.parametrize(
    ("label", "name"),
    [("flag: France", "france flag"), ("A button (blood type)", "a button blood type"), ("“hot” dog’s", "hot dog's")],
)
def test_emoji_labels_become_natural_lower_case_words(label, name):
    assert emoji.plain_name(label) == name


def test_names_match_whatever_their_case_hyphens_and_accents():
    assert emoji.squash("Piñata") == emoji.squash("pin-ata") == "pinata"


@pytest.mark.parametrize(
    ("icon", "words"), [("cat-fill-24", "cat"), ("shopping-cart-outline", "shopping cart"), ("tent-2", "tent")]
)
def test_an_icon_shows_what_its_name_says_without_style_and_size(icon, words):
    assert icons.subject(icon) == words


def test_a_wide_icon_is_drawn_whole_in_a_square():
    icon = {"body": '<rect width="20" height="10" fill="currentColor"/>', "width": 20, "height": 10}
    picture = art.draw_svg(art.icon_svg(icon, {}))
    assert picture.shape == (64, 64, 4)
    assert np.flatnonzero(picture[32, :, 3]).tolist() == list(range(64))
    assert np.flatnonzero(picture[:, 32, 3]).tolist() == list(range(16, 48))


def test_clip_art_of_one_stem_is_one_group(tmp_path):
    names = ("duck_bw_jo_01.png", "duck_jo_02.png", "house_jo_01.png")
    noise = np.random.default_rng(0).integers(0, 255, (3, 64, 64), np.uint8)
    groups = clipart.group_alike([tmp_path / name for name in names], [Image.fromarray(image) for image in noise])
    assert sorted(groups) == [[0, 1], [2]]


def test_clip_art_that_looks_alike_is_one_group_whatever_its_name(tmp_path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8))
    assert clipart.group_alike([tmp_path / "a.png", tmp_path / "b.png"], [noise, noise]) == [[0, 1]]


def test_no_group_is_both_learnt_and_tested():
    groups = [[index, index + 1] for index in range(0, 80, 2)]
    parts = clipart.split_groups(groups, "seed")
    assert not {index // 2 for index in parts["train"] + parts["val"]} & {index // 2 for index in parts["test"]}
    assert [len(parts[name]) for name in ("train", "val", "test")] == [38, 4, 38]


def test_the_same_members_make_the_same_archive(tmp_path):
    members = {"b": b"2", "a": b"1"}
    packing.write_archive(tmp_path / "one.zip", members)
    packing.write_archive(tmp_path / "two.zip", dict(sorted(members.items())))
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_transparency_becomes_white():
    assert np.asarray(packing.on_white(np.zeros((2, 2, 4), np.uint8))).min() == 255
