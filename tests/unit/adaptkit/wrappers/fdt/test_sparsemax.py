"""Sparsemax: the projection onto the simplex, its Jacobian, and numbers that would break a careless one."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from adaptkit.fdt import sparsemax


def nearest_on_the_simplex(z: np.ndarray) -> np.ndarray:
    """minimise |p - z|^2 over p >= 0, sum p = 1, by an active-set solver; the sum is a row of a large weight."""
    weight = 1e4
    p, _ = nnls(np.vstack([np.eye(len(z)), np.full(len(z), weight)]), np.append(z, weight))
    return p


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("spread", [0.1, 1.0, 3.0])
def test_it_is_the_nearest_point_of_the_simplex(seed, spread):
    z = spread * torch.randn(12, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    np.testing.assert_allclose(sparsemax(z).numpy(), nearest_on_the_simplex(z.numpy()), atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=30))
def test_rows_are_probabilities_and_keep_the_order(values):
    z = torch.tensor(values)
    p = sparsemax(z)
    assert (p >= 0).all()
    torch.testing.assert_close(p.sum(), torch.tensor(1.0), atol=1e-5, rtol=0)
    assert (p[z.argsort()].diff() >= 0).all()


def test_gradients_agree_with_finite_differences():
    z = torch.randn(4, 9, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(sparsemax, (z,))
    assert torch.autograd.gradcheck(lambda z: sparsemax(z, dim=0), (z,))


def test_the_jacobian_is_that_of_the_paper():
    z = torch.randn(7, dtype=torch.float64)
    on = (sparsemax(z) > 0).double()
    expected = torch.diag(on) - torch.outer(on, on) / on.sum()
    torch.testing.assert_close(torch.autograd.functional.jacobian(sparsemax, z), expected)


def test_any_dimension_may_be_the_one_that_sums_to_1():
    z = torch.randn(3, 4, 5)
    torch.testing.assert_close(sparsemax(z, dim=1), sparsemax(z.transpose(1, 2)).transpose(1, 2))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_full(dtype):
    z = (3 * torch.randn(6, 700)).to(dtype).requires_grad_()
    p = sparsemax(z)
    assert p.dtype == dtype
    torch.testing.assert_close(p.float(), sparsemax(z.float()), atol=4e-3, rtol=1e-2)
    (p * torch.randn_like(p)).sum().backward()
    assert z.grad.dtype == dtype
    assert z.grad.isfinite().all()


def test_autocast_does_not_lower_its_precision():
    z = torch.randn(4, 900)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(sparsemax(z), sparsemax(z.clone()), atol=0, rtol=0)
        assert sparsemax(z).dtype == torch.float32


def test_large_scores_lose_nothing():
    z = torch.tensor([0.3, 0.1, -0.2])
    torch.testing.assert_close(sparsemax(z + 1000), sparsemax(z), atol=1e-4, rtol=0)
    torch.testing.assert_close(sparsemax(torch.tensor([3e38, -3e38])), torch.tensor([1.0, 0.0]))


def test_what_cannot_be_projected_is_refused():
    with pytest.raises(ValueError, match="expected floats"):
        sparsemax(torch.tensor([1, 2]))
    with pytest.raises(ValueError, match="one or more along dim"):
        sparsemax(torch.zeros(3, 0))
