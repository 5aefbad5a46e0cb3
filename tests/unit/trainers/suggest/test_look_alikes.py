"""Classes that look alike: confusions first, then near class weights, with images that show them."""

import numpy as np

from trainers.suggest.look_alikes import alike_classes

WEIGHTS = np.array([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, 1.0]])
LABELS = np.array([0, 0, 1, 1, 2, 2])
FEATURES = np.eye(3)[[0, 1, 1, 0, 2, 2]]


def test_confused_classes_come_first():
    probabilities = np.array([[0.9, 0.1, 0.0], [0.2, 0.1, 0.7], [0.1, 0.9, 0.0], [0.1, 0.9, 0.0], [0.9, 0.0, 0.1]])
    first, second, third = alike_classes(WEIGHTS, FEATURES, LABELS, np.arange(5), probabilities)
    assert (first.first, first.second, first.confused, first.images) == (0, 2, 2, 3)
    assert first.shown == (4, 1), "the surest mistake first"
    assert (second.first, second.second) == (0, 1), "without confusions, the nearer weights"
    assert (third.first, third.second) == (1, 2)


def test_without_answers_the_weights_decide_and_features_show():
    pairs = alike_classes(WEIGHTS, FEATURES, LABELS, np.zeros(0, dtype=np.int64), np.zeros((0, 3)), count=1)
    assert [(pair.first, pair.second, pair.images, pair.share) for pair in pairs] == [(0, 1, 0, 0.0)]
    assert set(pairs[0].shown) == {0, 1, 2, 3}
