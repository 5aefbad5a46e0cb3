"""Folds: every class is in every training, copies are never apart, and a seed gives the same folds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets_fewshot import Item
from trainers.suggest.folds import NEVER, assign_folds


def items_of(labels):
    return [Item(f"{place}.png", label, str(label)) for place, label in enumerate(labels)]


@given(
    labels=st.lists(st.integers(0, 4), min_size=2, max_size=40),
    copies=st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=6),
    count=st.integers(2, 6),
    seed=st.integers(0, 5),
)
def test_what_folds_promise(labels, copies, count, seed):
    groups = np.arange(len(labels))
    for first, second in copies:
        if max(first, second) < len(labels):
            low, high = sorted((groups[first], groups[second]))
            groups[groups == high] = low
    folds = assign_folds(items_of(labels), groups, count, seed)
    assert (folds == assign_folds(items_of(labels), groups, count, seed)).all()
    assert folds.min() >= NEVER
    assert folds.max() < count
    for group in set(groups.tolist()):
        assert len(set(folds[groups == group].tolist())) == 1, "copies are in one fold"
    owner = [labels[group] for group in groups]  # the class of a group is that of its first image
    for fold in range(folds.max() + 1):
        assert (folds == fold).any(), "no fold is empty"
        learnt = {owner[place] for place in np.flatnonzero(folds != fold)}
        assert learnt == set(owner), "every class is learnt in every fold"


def test_a_class_of_one_image_is_always_learnt_from():
    folds = assign_folds(items_of([0, 0, 0, 1]), np.arange(4), 3, 1)
    assert folds[3] == NEVER
    assert sorted(folds[:3].tolist()) == [0, 1, 2]


def test_one_shot_has_no_folds():
    assert (assign_folds(items_of([0, 1, 2]), np.arange(3), 5, 1) == NEVER).all()


@pytest.mark.parametrize("count", [2, 5])
def test_folds_are_of_equal_size(count):
    folds = assign_folds(items_of([0, 1] * 10), np.arange(20), count, 1)
    assert np.bincount(folds).tolist() == [20 // count] * count
