"""Negatives and positives of captions, and the lists and files behind them."""

import inspect
import json
import random
import re
import sys
import textwrap
import types

import pytest

from adaptkit.objectives.svlc import (
    SYNONYMS,
    WORDS,
    CaptionAugmenter,
    NegativeAwareLoss,
    find_words,
    halves,
    inversions,
    load_masked_words,
    masked_negatives,
    read_synonyms,
    read_words,
)
from adaptkit.objectives.svlc.matching import replaced

CAPTIONS = (
    "a red car parked on a wooden bridge",
    "The BORED man, wearing a Red hat near a tan dog!",
    "two small dogs in front of a house",
    "AN OLD house; an orange cat",
    "an off white wall (wet) is open.",
    "dry and wet , dry",
)
COLOURS = ("red", "white", "off white", "blue", "orange", "olive", "crimson")


@pytest.mark.parametrize("caption", CAPTIONS)
def test_a_strict_negative_differs_in_one_word_or_phrase_and_keeps_the_rest(caption):
    augment = CaptionAugmenter(num_negs=3, with_rules=False)
    wrong = {
        replaced(caption, place, word)
        for place in find_words(caption, WORDS)
        for kind in place.kinds
        for word in WORDS[kind]
    }
    for index in range(30):
        negatives = augment(caption, index).negatives
        assert set(negatives) <= wrong - {caption}
        for negative in negatives:
            assert re.findall(r"[^\w\s-]", negative) == re.findall(r"[^\w\s-]", caption)


def test_with_words_alone_exactly_one_word_changes():
    augment = CaptionAugmenter({"colour": ("red", "blue", "green"), "size": ("small", "big")}, num_negs=2)
    caption = "A small, Red cat and a red dog."
    for index in range(20):
        negatives = augment(caption, index).negatives
        assert negatives
        for negative in negatives:
            pairs = zip(caption.split(), negative.split(), strict=True)
            assert sum(old != new for old, new in pairs) == 1


def test_the_longest_phrase_is_found_first_and_inner_words_are_left_alone():
    caption = "An off white wall, bored and red-haired; in, front of it red's."
    found = find_words(caption, {"colour": COLOURS, "relation": ("in", "in front of")})
    assert [caption[one.start : one.end] for one in found] == ["off white", "in"]


def test_synonyms_and_words_of_the_caption_do_not_come_in():
    augment = CaptionAugmenter({"size": ("small", "little", "tiny", "huge")}, num_negs=5)
    assert augment("a small dog and a huge cat").negatives == ()
    assert augment("a little dog").negatives == ("a huge dog",)


def test_phrases_around_a_word_do_not_come_in():
    augment = CaptionAugmenter({"colour": ("blue", "navy blue", "light blue", "red")}, num_negs=9, synonyms={})
    assert augment("a blue boat").negatives == ("a red boat",)
    assert set(augment("a navy blue boat").negatives) == {"a light blue boat", "a red boat"}


def test_capitals_and_articles_are_kept():
    augment = CaptionAugmenter({"colour": COLOURS}, num_negs=9, synonyms={})
    assert set(augment("AN ORANGE CAT").negatives) == {"AN OFF WHITE CAT", "AN OLIVE CAT"}
    assert "A Blue cat" in augment("A Red cat").negatives
    assert all(text.split()[1] not in ("olive", "off", "orange") for text in augment("a red cat").negatives)


def test_num_negs_gives_that_many_different_ones_as_far_as_there_are_words():
    assert len(set(CaptionAugmenter(num_negs=3)(CAPTIONS[0]).negatives)) == 3
    assert len(CaptionAugmenter({"colour": COLOURS}, num_negs=50)("red socks").negatives) == 5
    assert CaptionAugmenter(num_negs=0)(CAPTIONS[0]).negatives == ()
    assert CaptionAugmenter()("nothing here").negatives == ()


def test_kinds_choose_the_lists():
    augment = CaptionAugmenter(kinds=("material",), num_negs=9)
    for negative in augment(CAPTIONS[0]).negatives:
        assert negative.startswith("a red car parked on a ")
    with pytest.raises(ValueError, match="lists are there of"):
        CaptionAugmenter(kinds=("taste",))


def test_texts_depend_on_seed_index_and_epoch_alone():
    augment = CaptionAugmenter(seed=4)
    first = [augment(CAPTIONS[0], index, 2) for index in range(12)]
    assert [augment(CAPTIONS[0], index, 2) for index in reversed(range(12))] == first[::-1]
    assert [CaptionAugmenter(seed=4)(CAPTIONS[0], index, 2) for index in range(12)] == first
    assert [augment(CAPTIONS[0], index, 3) for index in range(12)] != first
    assert [CaptionAugmenter(seed=5)(CAPTIONS[0], index, 2) for index in range(12)] != first


def test_the_released_way_damages_words_and_leaves_phrases():
    augment = CaptionAugmenter({"colour": ("red", "blue")}, strict=False)
    assert augment("the bored man in a red hat").negatives == ("the boblue man in a blue hat",)
    assert CaptionAugmenter({"relation": ("in front of", "behind")}, strict=False)("in front of me").negatives == ()
    assert CaptionAugmenter({"colour": ("red", "blue")}, strict=False)("Red, red.").negatives == ()


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a cup left of a jug.", {"a jug right of a cup."}),
        ("The cat is in front of the dog", {"The dog is behind the cat"}),
        ("a drawing of a cup above a jug", {"a drawing of a jug below a cup"}),
        ("a blue boat", {"a boat that is blue"}),
        ("a boat that is orange", {"an orange boat"}),
        ("An old boat on a lake", {"A boat that is old on a lake"}),
        ("a red fire truck", set()),
        ("a cup of tea left of a jug", set()),
        ("two red cups", set()),
        ("a dog", set()),
    ],
)
def test_positives_by_rules(caption, expected):
    assert set(inversions(caption)) == expected


@pytest.mark.parametrize("caption", ["", " ", "!?", "\n\t", "\U0001f600 red", "an", "red" * 999, "a red " * 999])
@pytest.mark.parametrize("strict", [True, False])
def test_odd_captions_are_taken_as_they_are(caption, strict):
    said = CaptionAugmenter(num_negs=2, strict=strict)(caption)
    assert said.caption == caption
    assert caption not in (*said.negatives, *said.positives)


def test_paraphrases_come_first_and_a_negative_is_never_a_positive():
    lists = {"colour": ("red", "blue")}
    augment = CaptionAugmenter(lists, paraphrases={"a red cup": ["a cup in red", "a blue cup"]})
    said = augment("a red cup")
    assert said.positives == ("a cup in red", "a blue cup", "a cup that is red")
    assert said.negatives == ()


def test_packaged_lists_have_no_outer_spaces_and_no_word_twice():
    for kind, words in WORDS.items():
        assert len(set(words)) == len(words) > 20
        assert all(word == " ".join(word.split()).lower() and word for word in words)
        assert {word for group in SYNONYMS[kind] for word in group} == set(words)
    CaptionAugmenter()
    for words in (("red ", "blue"), ("red", "red"), ("Red", "blue"), ("", "blue")):
        with pytest.raises(ValueError, match="write every word once"):
            CaptionAugmenter({"colour": words})


def test_halves_have_no_word_and_no_synonym_in_common():
    first, second = halves()
    for kind, words in WORDS.items():
        assert set(first[kind]) | set(second[kind]) == set(words)
        assert not any(set(first[kind]) & group and set(second[kind]) & group for group in SYNONYMS[kind])
        assert min(len(first[kind]), len(second[kind])) > 10


def test_files_of_words_and_synonyms(tmp_path):
    words, synonyms = tmp_path / "words.txt", tmp_path / "synonyms.json"
    words.write_text("# mine\n[Taste]\n sweet \nvery  Sour\n\n[colour]\nred\nblue\n", encoding="utf-8")
    assert read_words(words) == {"taste": ("sweet", "very sour"), "colour": ("red", "blue")}
    synonyms.write_text(json.dumps({"colour": {"red": ["Crimson"]}}), encoding="utf-8")
    assert read_synonyms(synonyms) == {"colour": (frozenset({"red", "crimson"}),)}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("red\n", "of no kind"),
        ("[a]\nred\nblue\n[a]\n", "there twice"),
        ("[a]\nred\nRED\n", "twice"),
        ("[a]\nred\n", "fewer than two"),
        ("", "no list"),
    ],
)
def test_files_of_words_that_cannot_be_used_are_refused(tmp_path, text, match):
    path = tmp_path / "words.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=match):
        read_words(path)


@pytest.mark.parametrize("content", [[], {"colour": []}, {"colour": {"red": "crimson"}}, {"colour": {"red": [" "]}}])
def test_files_of_synonyms_that_cannot_be_used_are_refused(tmp_path, content):
    path = tmp_path / "synonyms.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=r"expected|list of words"):
        read_synonyms(path)


def test_a_masked_word_is_replaced_within_the_caption():
    def propose(before, behind):
        return (" cat", "Dog", "##s", ".", "owl") if behind.startswith("!") else ("a",)

    caption = "A small Cat! (asleep)"
    place = (caption.index("Cat"), caption.index("!"))
    assert set(masked_negatives(caption, [place], propose, 2, random.Random(0))) == {
        "A small Dog! (asleep)",
        "A small Owl! (asleep)",
    }
    assert masked_negatives(caption, [], propose, 2, random.Random(0)) == ()
    assert masked_negatives("an ant!", [(3, 6)], propose, 1, random.Random(0)) == ("an owl!",)


def test_both_sources_take_turns_by_caption():
    augment = CaptionAugmenter(
        {"colour": ("red", "blue")}, source="both", masked=lambda caption, count, draw: (f"{caption}?",) * count
    )
    assert {augment("a red cup", index).negatives for index in range(30)} == {("a blue cup",), ("a red cup?",)}
    with pytest.raises(ValueError, match="masked language model"):
        CaptionAugmenter(source="masked_lm")


def test_a_package_that_is_not_there_is_named(monkeypatch, tmp_path):
    import importlib

    real = importlib.import_module
    monkeypatch.setattr(
        importlib, "import_module", lambda name: (_ for _ in ()).throw(ImportError()) if name == "spacy" else real(name)
    )
    with pytest.raises(ValueError, match="need spacy, which is not installed"):
        load_masked_words(tmp_path)


@pytest.mark.parametrize("thing", [CaptionAugmenter, NegativeAwareLoss, find_words, halves, inversions])
def test_the_example_of_a_docstring_runs(thing):
    example = inspect.cleandoc(thing.__doc__).partition("\nExample:\n")[2]
    code = textwrap.dedent(example).partition("```python\n")[2].partition("```")[0]
    assert "assert" in code
    exec(code, {})


class Tagged:
    """A word as spaCy gives it."""

    def __init__(self, text, idx, pos):
        self.text, self.idx, self.pos_ = text, idx, pos


@pytest.fixture
def spacy(monkeypatch):
    """spaCy with one model, "tags", that takes every word for a noun but the first, an article."""

    def load(name):
        if name != "tags":
            raise OSError("no such model")
        words = re.compile(r"\w+")
        return lambda text: [
            Tagged(word[0], word.start(), "NOUN" if place else "DET") for place, word in enumerate(words.finditer(text))
        ]

    fake = types.ModuleType("spacy")
    fake.load = load
    monkeypatch.setitem(sys.modules, "spacy", fake)


@pytest.fixture
def fill_mask(tmp_path):
    """The folder of a tiny fill-mask model of random weights."""
    transformers = pytest.importorskip("transformers")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "dog", "owl", "sleeps", "runs", "!"]
    (tmp_path / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    transformers.BertTokenizerFast(vocab=str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )
    transformers.BertForMaskedLM(config).save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_a_masked_language_model_of_transformers_writes_negatives(spacy, fill_mask):
    write = load_masked_words(fill_mask, "tags")
    negatives = write("A cat, sleeps!", 2, random.Random(0))
    assert negatives
    for negative in negatives:
        assert re.sub(r"\w+", "", negative) == " , !"
        assert sum(old != new for old, new in zip(["A", "cat,", "sleeps!"], negative.split(), strict=True)) == 1
    assert write("A cat, sleeps!", 2, random.Random(0)) == negatives
    with pytest.raises(ValueError, match="spaCy has no model 'more'"):
        load_masked_words(fill_mask, "more")
    (fill_mask / "config.json").unlink()
    with pytest.raises(ValueError, match="no fill-mask model"):
        load_masked_words(fill_mask, "tags")


def test_a_folder_that_is_not_there_is_named(spacy, tmp_path):
    pytest.importorskip("transformers")
    with pytest.raises(ValueError, match="there is no folder"):
        load_masked_words(tmp_path / "none", "tags")
