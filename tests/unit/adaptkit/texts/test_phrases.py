"""Clauses, phrases, and what is asked of a language model and read from its answer."""

import pytest

from adaptkit.texts.phrases import PhraseStyle, clause, descriptor_prompt, parse_descriptors


@pytest.mark.parametrize(
    ("descriptor", "by_word", "by_letters"),
    [
        ("a seabird", "which is a seabird", "which is a seabird"),
        ("an animal", "which is an animal", "which is an animal"),
        ("aircraft", "which has aircraft", "which is aircraft"),
        ("candles", "which has candles", "which candles"),
        ("mayonnaise", "which has mayonnaise", "which mayonnaise"),
        ("can be red", "which can be red", "which can be red"),
        ("may have spots", "which may have spots", "which may have spots"),
        ("used for cutting", "which is used for cutting", "which is used for cutting"),
        ("black feet", "which has black feet", "which has black feet"),
    ],
)
def test_a_clause_begins_as_its_first_word_asks(descriptor, by_word, by_letters):
    assert clause(descriptor) == by_word
    assert clause(descriptor, "code") == by_letters
    assert clause(descriptor, "none") == descriptor


def test_the_name_stands_before_behind_or_not_at_all():
    assert PhraseStyle(before="a ", after=".").phrase("tabby_cat", "fur") == "a tabby cat, which has fur."
    assert PhraseStyle("append", before="a ", after=".").phrase("tabby_cat", "fur") == "which has fur, tabby cat"
    assert PhraseStyle("none").phrase("tabby_cat", "fur") == "which has fur"
    assert PhraseStyle(template="a photo of a {}.").phrase("cat", "fur") == "a photo of a cat, which has fur."


def test_an_answer_is_read_to_its_end_and_no_further():
    answer = " four legs\n- long tail\n- a round nose \n\nQ: next\n- after the question"
    assert parse_descriptors(answer) == ["four legs", "long tail", "a round nose"]
    assert parse_descriptors(answer, "code") == ["long tail", "a round nose ", "after the question"]
    assert parse_descriptors("") == []


def test_a_prompt_shows_its_examples_and_ends_with_a_dash():
    prompt = descriptor_prompt("tabby_cat", {"kettle": ["spout", "lid"]})
    assert "- spout\n- lid\n" in prompt
    assert "tell there is a tabby cat in a photo:\n-\n" in prompt
    assert prompt.endswith("-\n")
