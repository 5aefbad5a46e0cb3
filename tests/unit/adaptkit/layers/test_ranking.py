"""Max-margin losses against sums that are written out."""

import pytest
import torch

from adaptkit.layers.ranking import hinge


@pytest.fixture
def similarity():
    return torch.rand(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def terms(similarity, margin, mining):
    """The terms of every query, one by one."""
    rows = []
    for i in range(4):
        others = [float(similarity[i, j]) for j in range(4) if j != i]
        own = float(similarity[i, i])
        if mining == "semi_hard":
            others = [other for other in others if other < own]
        broken = [max(margin + other - own, 0.0) for other in others]
        rows.append([max(broken, default=0.0)] if mining == "max" else broken)
    return rows


@pytest.mark.parametrize("mining", ["sum", "max", "semi_hard"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_each_way_to_mine_is_its_formula(similarity, mining, reduction):
    rows = terms(similarity, 0.2, mining)
    flat = [term for row in rows for term in row]
    expected = sum(flat) / 4 if reduction == "sum" else sum(flat) / max(sum(term > 0 for term in flat), 1)
    negatives = ~torch.eye(4, dtype=torch.bool)
    loss = hinge(similarity, similarity.diag(), negatives, 0.2, mining, reduction)
    assert float(loss) == pytest.approx(expected)


def test_the_loss_is_zero_where_all_margins_hold():
    similarity = torch.eye(3)
    assert float(hinge(similarity, similarity.diag(), ~torch.eye(3, dtype=torch.bool), 0.9)) == 0


def test_the_hardest_negative_weighs_no_more_than_all(similarity):
    negatives = ~torch.eye(4, dtype=torch.bool)
    whole, hardest = (hinge(similarity, similarity.diag(), negatives, 0.2, m, "sum") for m in ("sum", "max"))
    assert hardest <= whole


@pytest.mark.parametrize("mining", ["sum", "max", "semi_hard"])
def test_gradients_are_those_of_small_steps(similarity, mining):
    negatives = ~torch.eye(4, dtype=torch.bool)
    given = similarity.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda s: hinge(s, s.diag(), negatives, 0.2, mining, "sum"), (given,))
