"""The embedded pairs: what they promise of parts, captions and drawings."""

import itertools
import re

import pytest

from adaptkit import load_backbone
from datasets_fewshot import load_dataset
from datasets_fewshot.mini.suite import FOLDER, MINI_DATASETS
from datasets_fewshot.pairs.embedded import FILE
from datasets_fewshot.pairs.load import load_pairs

PAIRS = load_pairs("mini_pairs")
PARTS = (PAIRS.train, PAIRS.val, PAIRS.test)
ITEMS = [item for part in PARTS for item in part]


def test_the_sizes_are_those_of_the_page():
    assert [len(part) for part in PARTS] == [1217, 185, 441]
    assert [len({item.group for item in part}) for part in PARTS] == [607, 171, 373]


def test_no_thing_and_no_image_is_in_two_parts():
    for what in ("group", "path"):
        seen = [{getattr(item, what) for item in part} for part in PARTS]
        assert not any(one & other for one, other in itertools.combinations(seen, 2))
    assert len({item.path for item in ITEMS}) == len(ITEMS)


def test_no_caption_is_in_two_parts():
    seen = [{caption for item in part for caption in item.captions} for part in PARTS]
    assert not any(one & other for one, other in itertools.combinations(seen, 2))


def test_the_train_part_has_no_drawing_that_a_data_set_tests_on():
    tested = {
        f"{facts['archive']}/{item.path}"
        for name, facts in MINI_DATASETS.items()
        for item in load_dataset(name).split.test
    }
    assert not tested & {item.path for item in PAIRS.train}


def test_no_drawing_is_of_a_family_that_pre_training_saw():
    pytest.importorskip("resvg_py", reason="the recipe of the embedded suite draws with resvg_py")
    from datasets_fewshot.mini.recipe import sources

    families = {item.path.split("/")[1] for item in ITEMS if item.path.startswith("emoji.zip/")}
    assert families == {"emojitwo", "noto-v1", "twemoji"}
    assert not families & {source.key for source in (*sources.TRAIN, *sources.ICONS)}


def test_every_drawing_has_one_to_five_captions_that_differ():
    assert {len(item.captions) for item in ITEMS} == {1, 2, 3, 4, 5}
    assert all(len(set(item.captions)) == len(item.captions) for item in ITEMS)
    assert sum(len(item.captions) == 5 for item in ITEMS) > len(ITEMS) / 2


def test_captions_hold_neither_addresses_nor_marks():
    assert not [c for item in ITEMS for c in item.captions if re.search(r"[@_<>{}#]|http|www", c)]


def test_every_short_caption_fits_into_the_embedded_model():
    tokenizer = load_backbone("adaptkit-mini").tokenizer
    longest = max((len(tokenizer.words(caption)), caption) for item in ITEMS for caption in item.captions)
    assert longest[0] + tokenizer.n_special <= tokenizer.context_length, longest[1]


def test_every_image_can_be_read():
    assert {PAIRS.load(item).size for item in ITEMS} == {(64, 64)}


def test_long_captions_are_composed_of_the_short_ones():
    long = load_pairs("mini_pairs_long")
    assert [item.path for item in long.test] == [item.path for item in PAIRS.test]
    assert all(len(item.captions) == 1 for item in long.test)
    for short, item in zip(PAIRS.test, long.test, strict=True):
        assert all(caption.lower() in item.captions[0].lower() for caption in short.captions)


def test_the_file_is_small_and_its_sources_are_named():
    pytest.importorskip("resvg_py", reason="the recipe of the embedded suite draws with resvg_py")
    from datasets_fewshot.mini.recipe import sources

    assert FILE.stat().st_size < 400_000
    notice = (FOLDER / "NOTICE").read_text(encoding="utf-8")
    assert sources.CLIPART_NAMES.label in notice
    assert sources.NAMES.label in notice


def test_options_of_tables_are_refused():
    with pytest.raises(ValueError, match="embedded"):
        load_pairs("mini_pairs", caption_column="caption")


@pytest.mark.parametrize(
    ("written", "plain"),
    [("PaintRoller_02 (B and W)", "paint roller"), ("Lemon (Wedge)", "lemon wedge"), ("R15", ""), ("", "")],
)
def test_titles_are_put_into_plain_words(written, plain):
    pytest.importorskip("resvg_py", reason="the recipe of the embedded suite draws with resvg_py")
    from datasets_fewshot.mini.recipe.clipart_texts import plain_title

    assert plain_title(written) == plain


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("apple", "an apple"),
        ("glasses", "glasses"),
        ("bus", "a bus"),
        ("umbrella with rain drops", "an umbrella with rain drops"),
        ("cat", "a cat"),
    ],
)
def test_names_get_an_article(name, said):
    pytest.importorskip("resvg_py", reason="the recipe of the embedded suite draws with resvg_py")
    from datasets_fewshot.mini.recipe.captions import with_article

    assert with_article(name) == said
