"""Texts to learn on: of classes with their labels, and captions with their tags."""

import pytest

from adaptkit.classes.class_set import ClassSet
from adaptkit.heads.close.training_texts import caption_tags, class_texts
from adaptkit.texts.descriptions import Descriptions


def test_a_class_has_its_templates_and_then_its_descriptors():
    classes = ClassSet(("tabby_cat", "dog"), ("a photo of a {}.", "{}"))
    texts, labels = class_texts(classes, Descriptions({}, {}).with_class("tabby cat", ["grey stripes"]))
    assert texts == [
        "a photo of a tabby cat.",
        "tabby cat",
        "a photo of a tabby cat, which has grey stripes.",
        "a photo of a dog.",
        "dog",
    ]
    assert labels.tolist() == [0, 0, 0, 1, 1]


def test_without_descriptions_there_are_templates_alone():
    texts, labels = class_texts(ClassSet(("cat", "dog")))
    assert (texts, labels.tolist()) == (["a photo of a cat.", "a photo of a dog."], [0, 1])


def test_nouns_of_captions_become_tags_in_alphabetical_order():
    tags, targets = caption_tags(["two red Dogs on a table", "a dog", "the tables"])
    assert tags[:1] == ("dog",)
    assert "table" in tags
    assert "the" not in tags
    assert targets[:, tags.index("dog")].tolist() == [1, 1, 0]
    assert targets[:, tags.index("table")].tolist() == [1, 0, 1]


def test_rare_nouns_are_left_out():
    tags, _ = caption_tags(["a dog and a cat", "a dog"], least_captions=2)
    assert tags == ("dog",)


def test_given_tags_are_found_as_whole_words_that_stand_in_a_row():
    captions = ["a hot dog", "a dog that is hot", "a hotdog", "hot dogs"]
    tags, targets = caption_tags(captions, ["hot dog", "dog"])
    assert tags == ("hot dog", "dog")
    assert targets.T.tolist() == [[1, 0, 0, 1], [1, 1, 0, 1]]


def test_captions_without_tags_are_refused():
    with pytest.raises(ValueError, match="there are no captions"):
        caption_tags([])
    with pytest.raises(ValueError, match="no noun is in 3 of 1 captions"):
        caption_tags(["a dog"], least_captions=3)
