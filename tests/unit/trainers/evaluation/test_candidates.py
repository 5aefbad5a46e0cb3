"""Among which classes images are classified: the adapter's own, unless it does not know all of theirs."""

import numpy as np
import pytest

from adaptkit import create_method
from trainers.evaluation.candidates import choose_candidates

OWN = ("cat", "golden_retriever", "violin", "cat")


@pytest.fixture
def taking(tiny_clip):
    return create_method("zero_shot", tiny_clip, OWN)


@pytest.fixture
def bound(tiny_clip):
    return create_method("linear_probe", tiny_clip, OWN)


def test_labels_become_places_among_the_adapters_classes(bound):
    candidates = choose_candidates(bound, ("violin", "golden_retriever"))
    assert candidates.place(np.array([0, 1, 1])).tolist() == [2, 1, 1]
    assert candidates.pick(np.eye(4)).shape == (4, 4)
    restricted = choose_candidates(bound, ("violin", "golden_retriever"), "data")
    assert restricted.place(np.array([0, 1])).tolist() == [0, 1]
    assert restricted.pick(np.arange(4.0)[None]).tolist() == [[2, 1]]


def test_another_spelling_is_the_same_class_and_is_said(taking):
    candidates = choose_candidates(taking, ("Golden Retriever", "violin"))
    assert candidates.places == (1, 2)
    assert "'Golden Retriever': the adapter writes it differently" in candidates.notes[-1]
    assert taking.classes.classnames == OWN


def test_two_spellings_of_one_class_are_refused(taking):
    with pytest.raises(ValueError, match="one and the same class of the adapter"):
        choose_candidates(taking, ("Golden Retriever", "golden retriever"))


def test_equal_names_are_said_and_matched_in_order_where_they_are_as_many(bound):
    candidates = choose_candidates(bound, ("cat", "cat"))
    assert candidates.places == (0, 3)
    assert "2 classes are called 'cat' (numbers 0, 3)" in candidates.notes[0]
    assert choose_candidates(bound, OWN).places == (0, 1, 2, 3)


def test_names_that_it_does_not_know_take_the_place_of_its_own_and_it_is_said(taking, bound):
    candidates = choose_candidates(taking, ("violin", "sushi"))
    assert (candidates.names, candidates.among) == (("violin", "sushi"), "data")
    assert "1 of the images' 2 classes are none of the adapter's ('sushi')" in candidates.notes[0]
    assert taking.classes.classnames == ("violin", "sushi")
    with pytest.raises(ValueError, match="1 classes that the adapter does not know, such as 'sushi'"):
        choose_candidates(bound, ("violin", "sushi"))


def test_one_candidate_is_refused(taking, tiny_clip):
    for names, among in ((("sushi",), "adapter"), (("violin",), "data")):
        with pytest.raises(ValueError, match="every answer is right"):
            choose_candidates(taking, names, among)
    with pytest.raises(ValueError, match="the adapter has one class only"):
        choose_candidates(create_method("zero_shot", tiny_clip, ["cat"]), ["cat"])
