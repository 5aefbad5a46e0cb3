"""Scores of several labels per image, beside scikit-learn's, and the choice of thresholds."""

import numpy as np
import pytest

from trainers.evaluation.multi_label import average_precision, best_threshold, choose_thresholds, judge_labels, sigmoid

NAMES = ("cat", "dog", "owl")
LOGITS = np.array([[2.0, -1.0, 0.5], [-0.5, 1.5, -2.0], [1.0, 0.2, -1.0], [-1.0, -2.0, -0.1]])
TARGETS = np.array([[1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 0]], dtype=bool)


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores with ties, and labels."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 40))
    return rng.integers(-3, 4, n) / 2.0, rng.random(n) < 0.4


def test_average_precision_is_that_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    for seed in range(100):
        scores, has_label = drawn(seed)
        if has_label.any():
            expected = 100 * metrics.average_precision_score(has_label, scores)
            assert average_precision(scores, has_label) == pytest.approx(expected)
        else:
            assert average_precision(scores, has_label) is None


def test_f1_and_the_mean_of_average_precision_are_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(50, 3)), rng.random((50, 3)) < 0.3
    thresholds = np.array([0.5, -0.2, 0.0])
    found = judge_labels(logits, targets, thresholds, NAMES)
    answers = logits >= thresholds
    assert found.micro_f1 == pytest.approx(100 * metrics.f1_score(targets, answers, average="micro"))
    assert found.macro_f1 == pytest.approx(100 * metrics.f1_score(targets, answers, average="macro"))
    assert found.accuracy == pytest.approx(100 * metrics.accuracy_score(targets, answers))
    expected = 100 * metrics.average_precision_score(targets, logits, average="macro")
    assert found.mean_average_precision == pytest.approx(expected)


def test_a_label_without_images_counts_in_no_mean():
    targets = TARGETS.copy()
    targets[:, 2] = False
    found = judge_labels(LOGITS, targets, np.zeros(3), NAMES)
    assert found.labels[2].average_precision is None
    assert found.labels[2].recall is None
    assert found.mean_average_precision == np.mean([one.average_precision for one in found.labels[:2]])


def test_the_best_threshold_has_the_best_f1_and_lies_between_scores():
    for seed in range(100):
        scores, has_label = drawn(seed)
        if not has_label.any():
            continue
        threshold, f1 = best_threshold(scores, has_label)
        assert threshold not in scores
        every = [
            np.mean((scores >= cut) & has_label) * 200 / np.mean((scores >= cut) + 1.0 * has_label)
            for cut in (*scores, -9)
        ]
        assert f1 == pytest.approx(max(every))
        answers = scores >= threshold
        assert f1 == pytest.approx(200 * (answers & has_label).sum() / (answers.sum() + has_label.sum()))


def test_a_label_of_few_images_takes_the_common_threshold():
    thresholds, few = choose_thresholds(LOGITS, TARGETS, least_positives=2)
    assert few == (2,)
    assert thresholds[2] == best_threshold(LOGITS.ravel(), TARGETS.ravel())[0]
    assert thresholds[0] == pytest.approx(best_threshold(LOGITS[:, 0], TARGETS[:, 0])[0])
    assert judge_labels(LOGITS, TARGETS, thresholds, NAMES).labels[0].threshold == sigmoid(thresholds)[0]


def test_without_any_label_thresholds_are_a_half():
    thresholds, few = choose_thresholds(LOGITS, np.zeros_like(TARGETS), least_positives=5)
    assert sigmoid(thresholds).tolist() == [0.5] * 3
    assert few == (0, 1, 2)


def test_what_cannot_be_judged_is_refused():
    with pytest.raises(ValueError, match="expected"):
        judge_labels(LOGITS, TARGETS[:, :2], np.zeros(3), NAMES)
    with pytest.raises(ValueError, match="no image has any of the labels"):
        judge_labels(LOGITS, np.zeros_like(TARGETS), np.zeros(3), NAMES)
    with pytest.raises(ValueError, match="not finite"):
        judge_labels(LOGITS * np.nan, TARGETS, np.zeros(3), NAMES)
