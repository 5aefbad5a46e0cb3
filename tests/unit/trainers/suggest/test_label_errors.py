"""Doubted labels: planted errors come first, and confidence has a threshold for each class."""

import numpy as np

from trainers.suggest.label_errors import find_doubts


def test_planted_errors_are_listed_the_least_believed_first():
    labels = np.repeat([0, 1, 2], 10)
    probabilities = np.full((30, 3), 0.1)
    probabilities[np.arange(30), labels] = 0.8
    probabilities[4] = [0.08, 0.87, 0.05]
    probabilities[25] = [0.85, 0.1, 0.05]
    doubts = find_doubts(probabilities, labels)
    assert [(doubt.place, doubt.suggested, doubt.confident) for doubt in doubts] == [(25, 0, True), (4, 1, True)]
    assert (doubts[0].own, doubts[0].other) == (0.05, 0.85)


def test_a_class_that_the_model_is_always_sure_of_needs_more():
    labels = np.array([0] * 10 + [1] * 10)
    probabilities = np.array(np.tile([0.99, 0.01], (10, 1)).tolist() + np.tile([0.45, 0.55], (10, 1)).tolist())
    probabilities[12] = [0.7, 0.3]  # less than is usual for class 0
    probabilities[3] = [0.4, 0.6]  # as sure as class 1 ever is
    assert {doubt.place: doubt.confident for doubt in find_doubts(probabilities, labels)} == {12: False, 3: True}


def test_a_class_without_images_is_never_meant_with_confidence():
    probabilities = np.array([[0.3, 0.0, 0.7], [0.0, 0.3, 0.7]])
    assert [doubt.confident for doubt in find_doubts(probabilities, np.array([0, 1]))] == [False, False]


def test_no_image_gives_no_doubt():
    assert find_doubts(np.zeros((0, 3)), np.zeros(0, dtype=np.int64)) == []
