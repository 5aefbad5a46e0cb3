"""Folds: every image at most once, every class in every training, copies on one side, the same for a seed."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.fit.auto.searching import _say_enough
from trainers.fit.folds import make_folds


def divided(counts, seed=1, most=5):
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    return labels, make_folds(labels, range(len(labels)), seed, most)


@given(
    labels=st.lists(st.integers(0, 4), min_size=2, max_size=40),
    copies=st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=12),
    most=st.integers(2, 6),
    seed=st.integers(0, 5),
)
def test_what_folds_promise(labels, copies, most, seed):
    same = list(range(len(labels)))
    for first, second in copies:
        if max(first, second) < len(labels):
            low, high = sorted((same[first], same[second]))
            same = [low if key == high else key for key in same]
    folds = make_folds(labels, same, seed, most)
    assert folds == make_folds(labels, same, seed, most)
    assert len(folds.held) <= most
    times = Counter(place for held in folds.held for place in held)
    assert set(times.values()) <= {1}
    for fold, held in enumerate(folds.held):
        learnt = folds.learnt(fold)
        assert held
        assert sorted((*held, *learnt)) == list(range(len(labels)))
        assert not {same[place] for place in held} & {same[place] for place in learnt}, "copies are on one side"
        assert {labels[place] for place in learnt} == set(labels), "every class is learnt without any fold"


@pytest.mark.parametrize("counts", [[2, 2], [16, 16, 16], [1, 7, 30], [2, 3, 4, 5], [2, 9, 16, 3], [5] * 100])
def test_classes_are_spread_evenly_and_folds_are_of_one_size(counts):
    labels, folds = divided(counts)
    assert len(folds.held) == min(5, max(counts))
    for label, count in enumerate(counts):
        shares = [sum(labels[place] == label for place in held) for held in folds.held]
        assert sum(shares) == (count if count > 1 else 0), "the only image of a class is always learnt from"
        assert max(shares) - min(shares) <= 1
    sizes = [len(held) for held in folds.held]
    assert max(sizes) - min(sizes) <= 1


def test_a_seed_gives_its_own_folds_and_always_the_same():
    assert divided([16, 16], seed=3) == divided([16, 16], seed=3)
    assert divided([16, 16], seed=3) != divided([16, 16], seed=4)


def test_the_drawing_stays_what_it_is():
    """Trials that a search has kept are found by the images that they held out."""
    assert divided([4, 5, 1], most=3)[1].held == ((0, 2, 6), (3, 5, 7), (1, 4, 8))


def test_the_first_folds_give_their_places_one_after_another():
    _, folds = divided([4, 4])
    assert folds.first(2).tolist() == [*folds.held[0], *folds.held[1]]


def test_copies_share_a_fold_under_whatever_class():
    labels, same = [0] * 6 + [1] * 3, ["a", "b", "a", "c", "d", "a", "e", "f", "b"]
    folds = make_folds(labels, same, 0, 4)
    fold_of = {place: fold for fold, held in enumerate(folds.held) for place in held}
    assert fold_of[0] == fold_of[2] == fold_of[5]
    assert fold_of[1] == fold_of[8]


@pytest.mark.parametrize(
    ("labels", "same", "always"),
    [
        ([0, 0, 1, 1], "aabc", {0, 1}),
        ([0, 0, 0, 1], "abca", {0, 3}),  # with the copy under another class
        ([0, 1, 2], "abc", {0, 1, 2}),
        ([0, 0], "aa", {0, 1}),
    ],
)
def test_a_class_of_one_image_or_of_copies_alone_is_always_learnt_from(labels, same, always):
    folds = make_folds(labels, same, 1)
    assert set(range(len(labels))) - {place for held in folds.held for place in held} == always


@pytest.mark.parametrize(
    ("counts", "enough"), [([1, 1], 0), ([1, 1, 1, 2], 0), ([1, 2], 0), ([30], 0), ([1, 1, 2, 2], 1), ([2, 2], 1)]
)
def test_a_search_needs_two_classes_and_half_of_all_held_out(counts, enough):
    labels, folds = divided(counts)
    assert _say_enough(folds, labels) == bool(enough)
