"""The threshold for unknown classes, by hand and beside scikit-learn."""

import pytest
import torch
import torch.nn.functional as F

from adaptkit.calibration.unknown import choose_threshold, left_out_confidences


def test_youden_takes_the_threshold_with_the_largest_difference():
    known = torch.tensor([0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99])
    found = choose_threshold(known, torch.tensor([0.1, 0.2, 0.6, 0.75]))
    assert found.threshold == pytest.approx(0.8)
    assert (found.false_rejections, found.caught) == (0.25, 1.0)
    assert found.rule == "Youden's J"


@pytest.mark.parametrize(("share", "threshold"), [(0.0, 0.5), (0.25, 0.7), (0.3, 0.7), (0.99, 0.9)])
def test_no_more_than_the_share_of_known_images_is_rejected(share, threshold):
    known, unknown = torch.tensor([0.5, 0.7, 0.8, 0.9]), torch.tensor([0.1, 0.75])
    found = choose_threshold(known, unknown, share)
    assert found.threshold == pytest.approx(threshold)
    assert found.false_rejections <= share


def test_the_area_is_that_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    generator = torch.Generator().manual_seed(0)
    known = (torch.rand(80, generator=generator) * 10).round() / 10
    unknown = (torch.rand(50, generator=generator) * 8).round() / 10
    labels = [1] * 80 + [0] * 50
    expected = metrics.roc_auc_score(labels, torch.cat([known, unknown]).numpy())
    assert choose_threshold(known, unknown).auroc == pytest.approx(expected)


def test_every_image_is_once_of_a_class_that_is_left_out():
    labels = torch.arange(70) % 7
    logits = 5.0 * F.one_hot(labels, 7)
    known, unknown = left_out_confidences(logits, labels, 1.0)
    assert len(unknown) == 70
    assert len(known) == 70 * 3  # 7 classes are four groups of two, so that each is there in the three others
    assert known.min() > unknown.max()


def test_two_classes_are_too_few():
    with pytest.raises(ValueError, match="2 classes are too few to leave one out"):
        left_out_confidences(torch.zeros(4, 2), torch.tensor([0, 1, 0, 1]), 1.0)
