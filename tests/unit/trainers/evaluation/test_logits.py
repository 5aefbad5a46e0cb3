import math

import numpy as np
import pytest
import torch

from adaptkit import create_method
from trainers.evaluation.logits import evaluate
from trainers.evaluation.scoring import (
    confidence_bins,
    expected_calibration_error,
    harmonic_mean,
    negative_log_likelihood,
    per_class_accuracy,
    score,
    wilson_interval,
)


def test_ties_go_to_the_first_class():
    logits = np.array([[1.0, 1.0, 0.0], [0.0, 2.0, 2.0]])
    result = score(logits, np.array([0, 2]))
    assert (result.correct, result.total, result.accuracy) == (1, 2, 50.0)
    assert result.hits.tolist() == [True, False]


def test_harmonic_mean_of_the_papers_averages():
    assert round(harmonic_mean(82.69, 63.22), 2) == 71.66
    assert round(harmonic_mean(82.28, 75.14), 2) == 78.55
    assert harmonic_mean(0.0, 0.0) == 0.0


def test_per_class_accuracy_marks_classes_without_images():
    values = per_class_accuracy(np.array([True, False, True]), np.array([0, 0, 2]), 3)
    assert values[0] == 50.0
    assert math.isnan(values[1])
    assert values[2] == 100.0


def test_calibration_error_of_two_bins_by_hand():
    # Confidence 0.8 and wrong, 0.8 and right: one bin with accuracy 0.5, a gap of 0.3. Confidence 0.6 and right: 0.4.
    probabilities = np.array([[0.8, 0.2], [0.8, 0.2], [0.6, 0.4]])
    error = expected_calibration_error(confidence_bins(np.log(probabilities), np.array([1, 0, 0])))
    assert error == pytest.approx(100 * (2 * 0.3 + 0.4) / 3)


def test_every_image_is_in_the_bin_of_its_confidence():
    bins = confidence_bins(np.log(np.array([[0.8, 0.2], [0.8, 0.2], [0.6, 0.4]])), np.array([1, 0, 0]))
    filled = {
        index: (one.images, one.correct, round(one.confidence, 6)) for index, one in enumerate(bins) if one.images
    }
    assert filled == {11: (2, 1, 80.0), 8: (1, 1, 60.0)}
    assert len(bins) == 15


def test_likelihood_is_cross_entropy():
    logits, labels = torch.randn(7, 4).double(), torch.tensor([0, 1, 2, 3, 0, 1, 2])
    expected = torch.nn.functional.cross_entropy(logits, labels).item()
    assert negative_log_likelihood(logits.numpy(), labels.numpy()) == pytest.approx(expected)
    assert negative_log_likelihood(logits.numpy() + 1e4, labels.numpy()) == pytest.approx(expected)


def test_interval_holds_the_accuracy_and_stays_within_bounds():
    low, high = wilson_interval(50, 100)
    assert (low, high) == pytest.approx((40.38, 59.62), abs=0.01)
    assert wilson_interval(0, 10) == pytest.approx((0.0, 27.75), abs=0.01)
    assert wilson_interval(10, 10) == pytest.approx((72.25, 100.0), abs=0.01)


def test_labels_outside_the_classes_are_refused():
    with pytest.raises(ValueError, match="labels reach from 0 to 2; logits have 2 classes"):
        score(np.zeros((2, 2)), np.array([0, 2]))


def test_logits_that_are_not_numbers_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        score(np.array([[np.nan, 0.0]]), np.array([0]))


@pytest.mark.parametrize("name", ["zero_shot", "coop"])
def test_a_method_is_scored_on_features_as_its_forward_classifies_images(name, tiny_clip, classes, batch):
    images, labels = batch
    method = create_method(name, tiny_clip, classes)
    with torch.no_grad():
        expected = method(images).argmax(dim=1) == labels
        result = evaluate(method, tiny_clip.encode_image(images), labels)
    assert result.hits.tolist() == expected.tolist()


def test_class_texts_are_encoded_once_however_many_batches(tiny_clip, classes, monkeypatch):
    method = create_method("coop", tiny_clip, classes, n_ctx=2)
    calls = []
    monkeypatch.setattr(type(method), "class_weights", counted(type(method).class_weights, calls))
    evaluate(method, torch.randn(3000, tiny_clip.embed_dim), torch.zeros(3000, dtype=torch.int64))
    assert len(calls) == 1


def counted(function, calls):
    def wrapper(self):
        calls.append(1)
        return function(self)

    return wrapper


def test_no_test_images_is_an_error(tiny_clip, classes):
    with pytest.raises(ValueError, match="no test images"):
        evaluate(create_method("zero_shot", tiny_clip, classes), torch.empty(0, 32), torch.empty(0, dtype=torch.int64))
