"""R-precision of region retrieval."""

import pytest
import torch

from trainers.evaluation.regions import r_precision


def test_as_many_answers_count_as_are_right():
    scores = torch.tensor([[0.9, 0.5, 0.1], [0.2, 0.3, 0.4], [0.1, 0.2, 0.3]])
    relevant = torch.tensor([[1, 0, 1], [0, 0, 1], [0, 0, 0]])
    assert r_precision(scores, relevant) == 75  # a half and one; the last query has no right answer
    with pytest.raises(ValueError, match="nothing to find"):
        r_precision(scores, torch.zeros(3, 3))
    with pytest.raises(ValueError, match=r"expected \(Q, N\) of both"):
        r_precision(scores, relevant[:2])
