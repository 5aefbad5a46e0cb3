"""The two losses of linking: SupCon with one positive is InfoNCE, and records without partner count for nothing."""

import pytest
import torch
import torch.nn.functional as F

from adaptkit.heads.multimodal_linking import margin_contrastive_loss, supcon_loss


def unit_rows(count: int) -> torch.Tensor:
    return F.normalize(torch.randn(count, 8, dtype=torch.float64), dim=1)


def test_supcon_equals_info_nce_where_every_record_has_one_positive():
    vectors, groups = unit_rows(6), torch.tensor([0, 1, 2, 0, 1, 2])
    logits = (vectors @ vectors.T / 0.1).fill_diagonal_(-torch.inf)
    info_nce = F.cross_entropy(logits, torch.tensor([3, 4, 5, 0, 1, 2]))
    torch.testing.assert_close(supcon_loss(vectors, groups, 0.1), info_nce)


def test_records_without_partner_are_left_out_of_the_mean_but_are_negatives():
    vectors, groups = unit_rows(3), torch.tensor([0, 0, 1])
    logits = (vectors @ vectors.T / 0.1).fill_diagonal_(-torch.inf)
    expected = F.cross_entropy(logits[:2], torch.tensor([1, 0]))
    torch.testing.assert_close(supcon_loss(vectors, groups, 0.1), expected)


@pytest.mark.parametrize("loss", [supcon_loss, margin_contrastive_loss])
def test_a_batch_without_partners_has_a_finite_gradient(loss):
    vectors = unit_rows(3).requires_grad_()
    loss(vectors, torch.arange(3)).backward()
    assert vectors.grad.isfinite().all()


def test_the_margins_let_near_partners_and_far_strangers_alone():
    vectors = torch.tensor([[1.0, 0], [0.9, (1 - 0.81) ** 0.5], [-1, 0]])
    groups = torch.tensor([0, 0, 1])
    assert float(margin_contrastive_loss(vectors, groups, pos_margin=0.5, neg_margin=0.5)) == 0
    distance = float((vectors[0] - vectors[1]).norm())
    assert float(margin_contrastive_loss(vectors, groups)) == pytest.approx(distance)


def test_equal_records_have_a_finite_gradient():
    vectors = torch.tensor([[1.0, 0], [1, 0]], requires_grad=True)
    margin_contrastive_loss(vectors, torch.tensor([0, 0])).backward()
    assert vectors.grad.isfinite().all()


def test_groups_that_do_not_belong_are_refused():
    with pytest.raises(ValueError, match=r"groups \(2,\) do not belong together"):
        supcon_loss(unit_rows(3), torch.arange(2))
