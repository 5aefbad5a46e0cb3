"""Metrics of free names, against brute force."""

from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from adaptkit.texts.cased.metrics import assignment, cluster_accuracy, clusters, semantic_ious, text_similarity


def brute_force(predictions, targets):
    """The best micro and, among those that reach it, the best macro accuracy over all assignments."""
    words, classes = sorted(set(predictions)), sorted(set(targets))
    size = max(len(words), len(classes))
    best = (0.0, 0.0)
    for order in permutations(range(size), len(classes)):
        hits = [
            sum(v == words[order[c]] and y == name for v, y in zip(predictions, targets, strict=True))
            if order[c] < len(words)
            else 0
            for c, name in enumerate(classes)
        ]
        shares = [hit / targets.count(name) for hit, name in zip(hits, classes, strict=True)]
        best = max(best, (sum(hits) / len(targets), sum(shares) / len(classes)))
    return best


@pytest.mark.parametrize("seed", range(20))
def test_cluster_accuracy_is_that_of_the_best_assignment(seed):
    numbers = np.random.default_rng(seed)
    targets = [f"class {each}" for each in numbers.integers(0, 4, size=12)]
    predictions = [f"word {each}" for each in numbers.integers(0, numbers.integers(2, 6), size=12)]
    found = clusters(predictions, targets)
    assert (found.micro, found.macro) == pytest.approx(brute_force(predictions, targets))
    order = numbers.permutation(12)
    again = clusters([predictions[place] for place in order], [targets[place] for place in order])
    assert (again.micro, again.macro) == pytest.approx((found.micro, found.macro))


def test_other_names_for_the_same_groups_are_all_right():
    assert cluster_accuracy(["x", "y", "y", "z"], ["a", "b", "b", "c"]) == 1
    assert cluster_accuracy(["x", "y", "y", "z"], ["a", "b", "b", "c"], "macro") == 1
    assert clusters(["x", "x"], ["a", "a"]).names == {"a": "x"}


@pytest.mark.parametrize("shape", [(5, 5), (3, 9), (9, 3), (1, 4), (4, 1), (40, 60)])
def test_the_assignment_gains_as_much_as_scipys(shape):
    numbers = np.random.default_rng(0)
    for _ in range(20):
        gains = numbers.integers(0, 4, size=shape).astype(float)
        chosen = assignment(gains)
        used = [column for column in chosen if column >= 0]
        assert len(used) == len(set(used)) == min(shape)
        ours = sum(gains[row, column] for row, column in enumerate(chosen) if column >= 0)
        assert ours == gains[linear_sum_assignment(gains, maximize=True)].sum()


def test_shared_words_count_whatever_their_case():
    assert semantic_ious(["retriever", "Golden-Retriever", "!"], ["golden retriever", "goldenretriever", "?"]) == [
        0.5,
        1.0,
        0.0,
    ]


def test_similarity_is_a_mean_of_cosines():
    one = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    assert text_similarity(one, torch.tensor([[1.0, 0.0], [1.0, 0.0]])) == 0.5


def test_lists_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match="2 predicted names and 1 class names"):
        cluster_accuracy(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="an image at least"):
        semantic_ious([], [])
