"""Texts of a run: its method reads what it can of them, tests of other classes too, and notes say what is left out."""

from dataclasses import replace

import pytest

from adaptkit import ClassSet, create_method
from adaptkit.texts.class_texts import ClassText, ClassTexts
from tests.helpers.synthetic import NAMES, synthetic_dataset
from trainers.config.load import load_bench
from trainers.protocols.task import EvalSet
from trainers.runs.adapter import texts_state
from trainers.runs.class_texts import notes_on_texts, read_classes, takes_sentences
from trainers.runs.execute import set_classes

TEXTS = ClassTexts((ClassText("red panda", "panda", ("a red tail",)), ClassText("Grey_Wolf", "", (), ("a wolf.",))))


def settings(method, texts=TEXTS, wrap="[]"):
    words = ["METHODS", f"[{method}]", "DATASETS", "[icons]", "WRAP", wrap]
    return replace(load_bench(overrides=words).runs[0], texts=texts)


@pytest.mark.parametrize(("method", "wrap", "takes"), [("zero_shot", "[]", True), ("coop", "[]", False)])
def test_a_method_reads_what_it_can(method, wrap, takes):
    config = settings(method, wrap=wrap)
    assert takes_sentences(config) == takes
    classes = read_classes(config, NAMES)
    assert classes.classnames == NAMES
    assert classes.readable == ("panda", "green tea", "blue whale", "grey wolf")
    assert (classes.sentences is not None) == takes


def test_without_texts_classes_are_read_as_ever():
    config = settings("zero_shot", None)
    assert read_classes(config, NAMES) == ClassSet(NAMES, config.templates)
    assert notes_on_texts(config, NAMES) == ()


def test_classes_of_another_test_are_read_by_the_same_texts(tiny_clip, tmp_path):
    config = settings("zero_shot")
    method = create_method("zero_shot", tiny_clip, read_classes(config, NAMES[:2], tiny_clip.tokenizer))
    dataset = synthetic_dataset(tmp_path)
    assert not set_classes(method, EvalSet("new", dataset, dataset.split.test, NAMES[2:]), config)
    assert method.classes.classnames == NAMES[2:]
    assert method.classes.texts[1] == ("a wolf.",)


def test_notes_name_what_is_left_out_and_what_has_no_effect():
    (note,) = notes_on_texts(settings("zero_shot"), NAMES)
    assert note == "nothing is said of 2 classes, such as 'green_tea'; their templates are read"
    assert "coop reads the names at most" in notes_on_texts(settings("coop"), NAMES)[1]


def test_what_is_kept_of_the_classes_is_what_they_say():
    assert texts_state(ClassSet(NAMES)) == {}
    assert set(texts_state(read_classes(settings("zero_shot"), NAMES))) == {"(sentences)", "(spoken)"}
    assert set(texts_state(read_classes(settings("coop"), NAMES))) == {"(spoken)"}
