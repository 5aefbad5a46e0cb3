"""SRCC, PLCC and RMSE equal scipy's, with ties."""

import numpy as np
import pytest
import scipy.stats

from trainers.evaluation.agreement import agreement


@pytest.mark.parametrize("seed", range(5))
def test_correlations_equal_scipys(seed):
    draw = np.random.default_rng(seed)
    given = draw.integers(1, 6, 40).astype(float)  # many ties
    predicted = given + draw.normal(size=40).round(1)
    found = agreement(predicted.tolist(), given.tolist())
    assert found.srcc == pytest.approx(scipy.stats.spearmanr(predicted, given).statistic)
    assert found.plcc == pytest.approx(scipy.stats.pearsonr(predicted, given).statistic)
    assert found.rmse == pytest.approx(np.sqrt(((predicted - given) ** 2).mean()))
    assert found.count == 40


def test_grades_that_do_not_vary_agree_with_nothing():
    found = agreement([1.0, 1.0, 1.0], [1.0, 2.0, 3.0])
    assert (found.srcc, found.plcc) == (0.0, 0.0)


@pytest.mark.parametrize(("predicted", "given"), [([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([], [])])
def test_too_few_grades_are_refused(predicted, given):
    with pytest.raises(ValueError, match="two or more"):
        agreement(predicted, given)
