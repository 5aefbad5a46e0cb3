"""What is said of a region: sentences that name its attributes, and their embedding."""

import pytest
import torch
import torch.nn.functional as F

from adaptkit.heads.villa import (
    listed_attributes,
    mean_embedding,
    naming_sentences,
    region_text,
    sentences_of,
)

TEXT = "Red paint on a door. The redwood is old. ok. A dark red, round knob"


def first(count: int) -> int:
    return 0


def test_words_are_matched_whole_and_also_at_the_start_of_a_sentence():
    sentences = sentences_of(TEXT)
    assert sentences == ["Red paint on a door", "The redwood is old", "A dark red, round knob"]
    assert naming_sentences(sentences, "red") == [0, 2]
    assert naming_sentences(sentences, "red", released=True) == [1, 2]
    assert naming_sentences(sentences, "Dark red") == [2]
    assert naming_sentences(sentences, "red round") == [2]
    assert naming_sentences(sentences, "c++") == []


def test_an_attribute_without_a_sentence_is_its_own_text_and_is_counted():
    said = region_text(TEXT, ["round", "new"], first)
    assert said.sentences == ("A dark red, round knob", "new")
    assert said.unnamed == 1
    assert said.joined == "A dark red, round knob . new"
    with pytest.raises(ValueError, match="no sentence has ' new'"):
        region_text(TEXT, ["new"], first, released=True)


def test_one_of_several_sentences_is_drawn():
    assert region_text(TEXT, ["red"], lambda count: count - 1).sentences == ("A dark red, round knob",)


def test_texts_list_attributes():
    assert listed_attributes(["Red; round", "nothing here"], ("red", "round")).tolist() == [[True, True], [False] * 2]
    assert listed_attributes([], ("red",)).shape == (0, 1)


def test_a_text_of_one_sentence_has_its_embedding_and_of_several_the_mean_of_unit_rows():
    rows = torch.randn(3, 5)
    torch.testing.assert_close(mean_embedding(rows[:1]), F.normalize(rows[0], dim=0))
    mean = (F.normalize(rows, dim=1)).mean(dim=0)
    torch.testing.assert_close(mean_embedding(rows), mean / mean.norm())
    with pytest.raises(ValueError, match="without sentences"):
        mean_embedding(rows[:0])
