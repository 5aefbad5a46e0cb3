"""Assignment of attributes to regions, and its quality."""

import math

import pytest
import torch

from adaptkit.heads.villa import assign, mapping_quality


def test_an_epsilon_of_zero_gives_exactly_the_best_region_and_as_released_none():
    cosines, counts = torch.rand(9, 4), torch.tensor([4, 5])
    labels = torch.ones(2, 4)
    assigned = assign(cosines, counts, labels, 0.0)
    for own, given in zip(cosines.split([4, 5]), assigned.split([4, 5]), strict=True):
        assert torch.equal(given, own == own.amax(dim=0))
    assert not assign(cosines, counts, labels, 0.0, strict=True).any()


def test_a_single_region_gets_all_that_its_image_lists_and_nothing_else():
    labels = torch.tensor([[1, 0, 1], [0, 0, 0]])
    assigned = assign(torch.randn(2, 3), torch.tensor([1, 1]), labels)
    assert torch.equal(assigned, labels.bool())


def test_images_may_have_different_counts_of_regions():
    cosines = torch.tensor([[0.9], [0.1], [0.75], [-0.5], [-0.6], [-0.9]])
    assigned = assign(cosines, torch.tensor([3, 1, 2]), torch.ones(3, 1), 0.2)
    assert assigned.flatten().tolist() == [True, False, True, True, True, False]
    with pytest.raises(ValueError, match=r"expected \(3, 1\)"):
        assign(cosines, torch.tensor([3, 1, 2]), torch.ones(2, 1))
    with pytest.raises(ValueError, match="whose sum is the number of regions"):
        assign(cosines, torch.tensor([3, 1, 1]), torch.ones(3, 1))


def test_quality_counts_all_pairs_together():
    quality = mapping_quality(torch.tensor([[1, 1], [0, 1]]), torch.tensor([[1, 0], [1, 1]]))
    assert quality.precision == pytest.approx(200 / 3)
    assert quality.recall == pytest.approx(200 / 3)
    assert quality.f1 == pytest.approx(200 / 3)
    nothing = mapping_quality(torch.zeros(2, 2), torch.ones(2, 2))
    assert math.isnan(nothing.precision)
    assert (nothing.recall, nothing.f1) == (0, 0)
    with pytest.raises(ValueError, match="expected one shape"):
        mapping_quality(torch.zeros(2, 2), torch.ones(2, 1))
