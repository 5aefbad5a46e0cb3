"""Average precision of tags."""

import pytest
import torch

from trainers.evaluation.tagging import average_precisions, mean_average_precision


def test_average_precision_is_the_mean_precision_at_the_right_images():
    scores = torch.tensor([[0.9], [0.8], [0.7], [0.1]])
    targets = torch.tensor([[1], [0], [1], [0]])
    assert average_precisions(scores, targets).tolist() == pytest.approx([(1 + 2 / 3) / 2])


def test_scikit_learn_says_the_same():
    metrics = pytest.importorskip("sklearn.metrics")
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(30, 4, generator=generator)
    targets = torch.randint(2, (30, 4), generator=generator)
    expected = metrics.average_precision_score(targets.numpy(), scores.numpy(), average=None)
    assert average_precisions(scores, targets).tolist() == pytest.approx(expected.tolist())
    assert mean_average_precision(scores, targets) == pytest.approx(100 * expected.mean())


def test_a_tag_that_no_image_has_does_not_count():
    scores, targets = torch.tensor([[0.9, 0.1], [0.2, 0.4]]), torch.tensor([[1, 0], [0, 0]])
    assert mean_average_precision(scores, targets) == 100


def test_scores_that_cannot_be_ranked_are_refused():
    with pytest.raises(ValueError, match=r"scores \(2, 1\) and targets \(2, 2\)"):
        average_precisions(torch.zeros(2, 1), torch.zeros(2, 2))
    with pytest.raises(ValueError, match="no image has any of the tags"):
        mean_average_precision(torch.zeros(2, 2), torch.zeros(2, 2))
