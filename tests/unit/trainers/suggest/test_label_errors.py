"""Confident learning on probabilities: planted errors are found, and each class has a threshold of its own."""

import numpy as np

from trainers.suggest.label_errors import find_doubts


def test_a_planted_error_comes_first():
    labels = np.repeat([0, 1, 2], 10)
    probabilities = np.full((30, 3), 0.1)
    probabilities[np.arange(30), labels] = 0.8
    probabilities[4] = [0.05, 0.9, 0.05]
    probabilities[25] = [0.85, 0.1, 0.05]
    doubts = find_doubts(probabilities, labels)
    assert [(doubt.place, doubt.suggested) for doubt in doubts] == [(4, 1), (25, 0)]
    assert doubts[0].margin == np.float64(0.05) - np.float64(0.9)


def test_a_class_that_the_model_is_always_sure_of_needs_more():
    labels = np.array([0] * 10 + [1] * 10)
    probabilities = np.tile([0.99, 0.01], (10, 1)).tolist() + np.tile([0.45, 0.55], (10, 1)).tolist()
    probabilities = np.array(probabilities)
    probabilities[12] = [0.7, 0.3]  # wrong, but below what is usual for class 0
    probabilities[3] = [0.4, 0.6]  # as sure as class 1 ever is
    assert [doubt.place for doubt in find_doubts(probabilities, labels)] == [3]


def test_a_class_without_images_is_never_suggested():
    probabilities = np.array([[0.1, 0.2, 0.7], [0.2, 0.1, 0.7]])
    assert {doubt.suggested for doubt in find_doubts(probabilities, np.array([0, 1]))} <= {0, 1}


def test_no_image_gives_no_doubt():
    assert find_doubts(np.zeros((0, 3)), np.zeros(0, dtype=np.int64)) == []
