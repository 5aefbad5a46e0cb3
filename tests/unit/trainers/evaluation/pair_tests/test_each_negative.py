"""Accuracy on pairs of a true and a false text."""

import pytest
import torch

from trainers.evaluation.pair_tests.each_negative import pair_accuracy

IMAGES = torch.eye(4)


def test_the_share_of_true_texts_that_are_nearer():
    negatives = IMAGES.roll(1, 0)
    positives = torch.cat([IMAGES[:3], negatives[3:]])
    negatives[3] = IMAGES[3]
    assert pair_accuracy(IMAGES, positives, negatives) == 75


def test_lengths_do_not_matter_and_ties_count_against_the_model():
    assert pair_accuracy(3 * IMAGES, 0.1 * IMAGES, 10 * IMAGES.roll(1, 0)) == 100
    assert pair_accuracy(IMAGES, IMAGES, IMAGES) == 0


def test_every_negative_that_is_there_is_compared_on_its_own():
    negatives = torch.stack([IMAGES.roll(1, 0), torch.zeros(4, 4), IMAGES], dim=1)
    negatives[2:, 2] = 0
    assert pair_accuracy(IMAGES, IMAGES, negatives) == pytest.approx(100 * 4 / 6)


@pytest.mark.parametrize(
    "negatives", [torch.zeros(4, 4), torch.zeros(4, 2, 4), torch.ones(3, 4), torch.ones(4, 5), torch.ones(4)]
)
def test_what_cannot_be_compared_is_refused(negatives):
    with pytest.raises(ValueError, match=r"expected|nothing to compare"):
        pair_accuracy(IMAGES, IMAGES, negatives)
