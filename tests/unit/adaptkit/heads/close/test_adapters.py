"""CLOSE's adapters on texts: what they do in either mode, and what is estimated for them."""

import pytest
import torch
from torch import Tensor

from adaptkit.heads.close.adapters import (
    RIDGE,
    CovarianceNoise,
    LinearMap,
    MeanShift,
    Noise,
    RandomShift,
    gap_covariance,
    linear_gap,
    mean_gap,
    unit,
)

D = 8


def rows(count: int = 6, seed: int = 0) -> Tensor:
    return unit(torch.randn(count, D, generator=torch.Generator().manual_seed(seed)))


def every_adapter(sigma: float, renorm: bool = True) -> dict:
    shift = torch.linspace(-0.5, 0.5, D)
    return {
        "noise": Noise(sigma),
        "mean_shift": MeanShift(shift, sigma, renorm=renorm),
        "random_shift": RandomShift(torch.ones(D), sigma, renorm=renorm),
        "covariance": CovarianceNoise(0.01 * torch.eye(D), shift, sigma),
        "linear": LinearMap(torch.eye(D) + 0.1, shift, sigma, renorm=renorm),
    }


@pytest.mark.parametrize("name", every_adapter(0.1))
@pytest.mark.parametrize("sigma", [0.0, 0.1])
def test_what_a_head_sees_has_length_one_in_both_modes(name, sigma):
    adapter, u = every_adapter(sigma)[name], rows()
    for is_training in (True, False):
        torch.testing.assert_close(adapter.train(is_training)(u).norm(dim=-1), torch.ones(6))


@pytest.mark.parametrize("name", ["mean_shift", "random_shift", "linear"])
def test_as_released_a_shifted_text_keeps_its_length_at_evaluation(name):
    lengths = every_adapter(0.1, renorm=False)[name].eval()(rows()).norm(dim=-1)
    assert (lengths - 1).abs().max() > 0.05


@pytest.mark.parametrize("name", every_adapter(0.1))
def test_nothing_is_drawn_at_evaluation(name):
    adapter, u = every_adapter(0.1)[name].eval(), rows()
    assert torch.equal(adapter(u), adapter(u))


@pytest.mark.parametrize("name", every_adapter(0.1))
def test_training_draws_noise_of_its_own_each_time(name):
    adapter, u = every_adapter(0.1)[name].train(), rows()
    assert not torch.equal(adapter(u), adapter(u))


@pytest.mark.parametrize("name", ["noise", "mean_shift", "random_shift", "linear"])
def test_without_sigma_training_is_deterministic_and_equals_evaluation(name):
    adapter, u = every_adapter(0.0)[name], rows()
    trained = adapter.train()(u)
    assert torch.equal(trained, adapter(u))
    torch.testing.assert_close(trained, adapter.eval()(u))


@pytest.mark.parametrize("name", ["noise", "covariance"])
def test_noise_and_covariance_are_the_identity_at_evaluation(name):
    assert torch.equal(every_adapter(0.1)[name].eval()(rows()), rows())


def test_noise_that_is_not_normalised_has_the_deviation_that_was_asked_for():
    torch.manual_seed(0)
    moved = Noise(0.08, renormalise=False).train()(torch.zeros(20000, D))
    torch.testing.assert_close(moved.std(dim=0), torch.full((D,), 0.08), atol=0.002, rtol=0)


def test_the_parts_of_covariance_noise_can_each_be_off():
    u, shift = rows(), torch.full((D,), 0.3)
    covariance = torch.diag(torch.arange(1.0, D + 1))
    shifted = CovarianceNoise(covariance, shift, 0.0, use_covariance=False).train()
    torch.testing.assert_close(shifted(u), unit(u + shift))
    z = rows(seed=1)
    drawn = CovarianceNoise(covariance, shift, 0.0, use_shift=False).train()
    expected = unit(u + 3 * z * covariance.diagonal().sqrt())
    torch.testing.assert_close(drawn(u, covariance_noise=z), expected)
    with pytest.raises(ValueError, match="plain noise; take noise"):
        CovarianceNoise(covariance, shift, 0.0, use_shift=False, use_covariance=False)


def test_a_covariance_without_a_root_is_refused():
    with pytest.raises(ValueError, match="not positive definite; estimate it with `gap_covariance`"):
        CovarianceNoise(-torch.eye(D), torch.zeros(D), 0.1)


def test_the_mean_gap_of_identical_features_is_zero():
    assert torch.equal(mean_gap(rows(), rows()), torch.zeros(D))


def test_a_mean_shift_takes_texts_to_the_mean_of_images():
    texts, images = rows(), rows(9, seed=1)
    moved = MeanShift(mean_gap(images, texts), 0.0).eval()(texts)
    torch.testing.assert_close(moved.mean(dim=0), images.mean(dim=0))


def test_a_planted_linear_gap_is_recovered():
    texts = rows(200)
    turned, _ = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(2)))
    coef, bias = linear_gap(texts @ turned.T, texts)
    torch.testing.assert_close(coef, turned, atol=1e-5, rtol=0)
    torch.testing.assert_close(bias, torch.zeros(D), atol=1e-5, rtol=0)
    new = rows(5, seed=3)
    torch.testing.assert_close(LinearMap(coef, bias, 0.0).eval()(new), new @ turned.T, atol=1e-5, rtol=0)


def test_a_linear_map_of_fewer_pairs_than_coordinates_fits_them():
    texts, images = rows(4), rows(4, seed=1)
    coef, bias = linear_gap(images, texts)
    torch.testing.assert_close(texts @ coef.T + bias, images, atol=1e-5, rtol=0)


def test_the_covariance_is_that_of_the_differences_with_a_ridge():
    texts, images = rows(50), rows(50, seed=1)
    expected = torch.cov((images - texts).T)
    found = gap_covariance(images, texts)
    torch.testing.assert_close(found - RIDGE * expected.diagonal().mean() * torch.eye(D), expected)
    CovarianceNoise(gap_covariance(images[:3], texts[:3]), torch.zeros(D), 0.1)  # fewer pairs than coordinates


@pytest.mark.parametrize("estimate", [gap_covariance, linear_gap])
def test_features_that_are_no_pairs_are_refused(estimate):
    with pytest.raises(ValueError, match=r"\(5, 8\) and text features \(6, 8\) are no pairs"):
        estimate(rows(5), rows(6))
