"""Our logistic regression against scikit-learn's, and the limits of the penalty."""

import numpy as np
import pytest
import torch

from adaptkit.layers.logistic_regression import fit_logistic_regression, objective


@pytest.fixture
def problem():
    """60 features of width 8 in 5 overlapping classes."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 5
    centres = torch.randn(5, 8, generator=generator)
    return (centres[labels] + torch.randn(60, 8, generator=generator)).double(), labels


@pytest.mark.parametrize("c", [1e-4, 1e-2, 1.0, 10.0])
def test_it_finds_the_optimum_that_scikit_learn_finds(problem, c):
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, labels = problem
    theirs = linear_model.LogisticRegression(C=c, tol=1e-8, max_iter=10_000).fit(x.numpy(), labels.numpy())
    weight, bias = fit_logistic_regression(x, labels, 5, c, max_iter=10_000, tol=1e-8)
    np.testing.assert_allclose(weight.numpy(), theirs.coef_, atol=1e-4 * max(1.0, np.abs(theirs.coef_).max()))
    np.testing.assert_allclose((bias - bias.mean()).numpy(), theirs.intercept_ - theirs.intercept_.mean(), atol=1e-3)


@pytest.mark.parametrize("c", [1e-6, 1e-2, 1.0, 1e4])
def test_with_its_stopping_rules_it_is_as_good_as_scikit_learn(problem, c):
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, labels = problem
    theirs = linear_model.LogisticRegression(C=c, max_iter=1000).fit(x.numpy(), labels.numpy())
    at_theirs = objective(*(torch.from_numpy(part) for part in (theirs.coef_, theirs.intercept_)), x, labels, c)
    assert objective(*fit_logistic_regression(x, labels, 5, c), x, labels, c) <= at_theirs + 1e-4


def test_a_strong_penalty_leaves_the_class_frequencies(problem):
    x, labels = problem
    weight, bias = fit_logistic_regression(x, labels, 5, 1e-9)
    assert weight.abs().max() < 1e-5
    torch.testing.assert_close(bias.softmax(dim=0), torch.full((5,), 0.2, dtype=torch.float64), rtol=0, atol=1e-3)


def test_a_weak_penalty_fits_more_dimensions_than_features_perfectly():
    x, labels = torch.randn(20, 50), torch.arange(20) % 4
    weight, bias = fit_logistic_regression(x, labels, 4, 1e6)
    assert torch.equal((x.double() @ weight.T + bias).argmax(dim=1), labels)


def test_the_same_fit_twice_is_equal_bit_for_bit(problem):
    assert all(
        torch.equal(*pair)
        for pair in zip(
            fit_logistic_regression(*problem, 5, 1.0), fit_logistic_regression(*problem, 5, 1.0), strict=True
        )
    )


def test_it_fits_where_gradients_are_off(problem):
    with torch.no_grad():
        weight, _ = fit_logistic_regression(*problem, 5, 1.0)
    assert weight.any()


def test_no_features_are_an_error():
    with pytest.raises(ValueError, match="got 0 features"):
        fit_logistic_regression(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), 2, 1.0)
