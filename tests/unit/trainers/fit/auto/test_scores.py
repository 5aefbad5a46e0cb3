"""Scores with standard errors, against sums that are written out and against repeated draws."""

import numpy as np
import pytest

from trainers.fit.auto.scores import METRICS, difference, estimate

LABELS = np.array([0, 0, 0, 1])
HITS = np.array([True, False, False, True])


def test_accuracy_counts_images_and_balanced_accuracy_classes():
    assert estimate(HITS, LABELS, "accuracy").mean == pytest.approx(50)
    assert estimate(HITS, LABELS, "balanced_accuracy").mean == pytest.approx((100 / 3 + 100) / 2)


def test_the_error_of_an_accuracy_is_the_usual_one():
    hits = np.arange(40) < 30
    expected = 100 * hits.astype(float).std(ddof=1) / np.sqrt(40)
    assert estimate(hits, np.zeros(40, dtype=np.int64), "accuracy").error == pytest.approx(expected)


def test_with_classes_of_one_size_the_metrics_agree():
    rng = np.random.default_rng(0)
    labels, hits = np.repeat(np.arange(5), 8), rng.random(40) < 0.6
    by_metric = [estimate(hits, labels, metric) for metric in METRICS]
    assert by_metric[0].mean == pytest.approx(by_metric[1].mean)
    assert by_metric[0].error == pytest.approx(by_metric[1].error)


def test_a_difference_is_paired():
    others = np.array([True, False, True, True])
    assert difference(HITS, others, LABELS, "accuracy").mean == pytest.approx(-25)
    assert difference(HITS, HITS, LABELS, "balanced_accuracy") == difference(others, others, LABELS, "accuracy")
    assert difference(HITS, HITS, LABELS, "accuracy").error == 0


def test_the_error_of_a_balanced_accuracy_is_how_much_it_varies():
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1, 2], [60, 60, 120])
    right = np.array([0.9, 0.5, 0.7])[labels]
    drawn = [estimate(rng.random(240) < right, labels, "balanced_accuracy") for _ in range(400)]
    spread = np.std([one.mean for one in drawn])
    assert np.mean([one.error for one in drawn]) == pytest.approx(spread, rel=0.15)
