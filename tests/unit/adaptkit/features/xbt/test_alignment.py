"""Maps without training: what they recover, and what they refuse."""

import pytest
import torch
import torch.nn.functional as F

from adaptkit.features.xbt import least_squares, procrustes, slerp, zero_padded


def rows(count, width, seed=0):
    return F.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)), dim=-1)


def rotation(width, seed=1):
    return torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(seed))).Q


def test_one_model_is_mapped_to_itself_by_the_identity():
    new = rows(100, 16)
    torch.testing.assert_close(procrustes(new, new), torch.eye(16), atol=1e-5, rtol=0)
    torch.testing.assert_close(least_squares(new, new), torch.eye(16), atol=1e-5, rtol=0)


def test_a_turned_space_is_turned_back():
    new, turn = rows(100, 16), rotation(16)
    torch.testing.assert_close(procrustes(new, new @ turn), turn, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("new_width", "old_width"), [(8, 12), (12, 8)])
def test_of_two_widths_the_map_is_an_isometry_as_far_as_it_can_be(new_width, old_width):
    found = procrustes(rows(100, new_width), rows(100, old_width, 2))
    assert found.shape == (new_width, old_width)
    gram = found @ found.T if new_width < old_width else found.T @ found
    torch.testing.assert_close(gram, torch.eye(8), atol=1e-5, rtol=0)
    left, _, right = torch.linalg.svd(rows(100, new_width).T @ rows(100, old_width, 2), full_matrices=False)
    torch.testing.assert_close(found, left @ right, atol=1e-4, rtol=0)  # what padding with zeros comes to


def test_least_squares_is_nearer_on_its_own_rows_than_any_rotation():
    new, old = rows(50, 8), rows(50, 6, 3)
    errors = [(new @ fit(new, old) - old).square().sum() for fit in (least_squares, procrustes)]
    assert errors[0] < errors[1]


def test_fewer_rows_than_numbers_still_have_a_map():
    new, old = rows(3, 8), rows(3, 6, 3)
    torch.testing.assert_close(new @ least_squares(new, old), old, atol=1e-4, rtol=0)
    assert procrustes(new, old).isfinite().all()


def test_padding_adds_zeros_and_keeps_cosines():
    short = rows(4, 5)
    padded = zero_padded(short, 8)
    assert torch.equal(padded[:, :5], short)
    assert (padded[:, 5:] == 0).all()
    torch.testing.assert_close(padded @ padded.T, short @ short.T)
    with pytest.raises(ValueError, match="rows of width 8 cannot be padded to 5"):
        zero_padded(padded, 5)


def test_slerp_stays_on_the_sphere_at_a_constant_pace():
    start, end = rows(6, 9), rows(6, 9, 5)
    angle = (start * end).sum(-1).arccos()
    for share in (0.0, 0.3, 1.0):
        between = slerp(start, end, share)
        torch.testing.assert_close(between.norm(dim=-1), torch.ones(6))
        torch.testing.assert_close((start * between).sum(-1).clamp(-1, 1).arccos(), share * angle, atol=2e-3, rtol=0)


def test_slerp_of_equal_and_of_opposite_rows_is_finite():
    start = rows(3, 4)
    torch.testing.assert_close(slerp(start, start, 0.4), start, atol=1e-6, rtol=0)
    torch.testing.assert_close(slerp(start, -start, 0.2), start, atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match=r"share=1\.5; expected 0"):
        slerp(start, start, 1.5)
    with pytest.raises(ValueError, match="in the same space"):
        slerp(start, rows(3, 5), 0.5)


@pytest.mark.parametrize("fit", [procrustes, least_squares])
def test_rows_that_are_no_pairs_are_refused(fit):
    with pytest.raises(ValueError, match="of the same N texts or images"):
        fit(rows(4, 5), rows(3, 5))
    with pytest.raises(ValueError, match="not finite"):
        fit(rows(4, 5) * torch.nan, rows(4, 5))
