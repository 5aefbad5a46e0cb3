"""The choice of images to label: one of each kind, uncertain kinds first, the same for a seed."""

import numpy as np
import pytest

from trainers.suggest.next_images import k_means, uncertainty, worth_labelling


def kinds(count, each=12, seed=0):
    """Unit rows around `count` directions, and the kind of each."""
    random = np.random.default_rng(seed)
    rows = np.repeat(np.eye(count), each, axis=0) + 0.02 * random.normal(size=(count * each, count))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), np.repeat(np.arange(count), each)


def test_uncertainty_is_the_margin_turned_round():
    probabilities = np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.6, 0.3, 0.1]])
    assert uncertainty(probabilities) == pytest.approx([1.0, 0.0, 0.7])


def test_uncertain_kinds_come_first_and_once_each():
    rows, kind = kinds(8)
    uncertain = np.where(kind < 4, 0.9, 0.1)
    chosen = worth_labelling(rows, uncertain, 4, seed=1)
    assert sorted(kind[chosen].tolist()) == [0, 1, 2, 3]


def test_a_seed_gives_one_choice():
    rows, _ = kinds(6)
    uncertain = np.random.default_rng(1).random(len(rows))
    assert worth_labelling(rows, uncertain, 5, 3) == worth_labelling(rows, uncertain, 5, 3)


@pytest.mark.parametrize("count", [1, 5, 11, 12, 13])
def test_as_many_as_are_wanted_and_none_twice(count):
    rows, _ = kinds(3, each=4)
    chosen = worth_labelling(rows, np.linspace(0, 1, 12), count, 1)
    assert len(chosen) == len(set(chosen)) == min(count, 12)


def test_equal_rows_are_one_cluster():
    centres, clusters = k_means(np.ones((5, 3)) / 3**0.5, 4, 1)
    assert len(centres) == 1
    assert set(clusters.tolist()) == {0}
    assert len(worth_labelling(np.ones((5, 3)), np.arange(5) / 5, 3, 1)) == 3
