"""The losses of ViLLA's two stages: what is a negative, what is pooled, and what is refused."""

import pytest
import torch

from adaptkit.heads.villa import mapping_loss, pooled_cosines, region_text_loss
from adaptkit.heads.villa.losses import synonym_matrix


def test_the_loss_is_the_formula():
    scores, labels = torch.randn(5, 3), torch.tensor([[1, 0, 1], [1, 1, 1], [0, 0, 1], [0, 1, 1], [1, 0, 1]])
    e = scores.exp()
    for strict in (True, False):
        terms = [
            (e[b, a] / (e[b, a] + e[labels[:, a] == 0, a].sum() + (0 if strict else labels[:, a].sum()))).log()
            for b, a in labels.nonzero().tolist()
        ]
        torch.testing.assert_close(mapping_loss(scores, labels, strict), -torch.stack(terms).mean())


def test_an_attribute_that_every_image_lists_teaches_nothing_and_no_attribute_is_refused():
    scores = torch.randn(3, 2, requires_grad=True)
    labels = torch.tensor([[1, 0], [1, 0], [1, 1]])
    mapping_loss(scores, labels).backward()
    assert torch.equal(scores.grad[:, 0], torch.zeros(3))
    assert scores.grad[:, 1].abs().min() > 0
    with pytest.raises(ValueError, match="no image of the batch lists any attribute"):
        mapping_loss(scores, torch.zeros(3, 2))
    with pytest.raises(ValueError, match=r"expected \(B, A\) of both"):
        mapping_loss(scores, labels[:2])


def test_images_with_a_synonym_are_no_negatives():
    synonyms = synonym_matrix(("big", "large", "red"), (("big", "large"),))
    scores = torch.randn(3, 3, requires_grad=True)
    labels = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    mapping_loss(scores, labels, synonyms=synonyms).backward()
    assert scores.grad[1, 0] == 0
    assert scores.grad[2, 0] > 0
    with pytest.raises(ValueError, match="'huge', which is no attribute"):
        synonym_matrix(("big", "large"), (("big", "huge"),))


def test_regions_are_pooled_image_by_image_with_counts_of_any_kind():
    cosines = torch.randn(6, 2, requires_grad=True)
    counts = torch.tensor([1, 3, 2])
    pooled = pooled_cosines(cosines, counts)
    torch.testing.assert_close(pooled, torch.stack([part.amax(dim=0) for part in cosines.split([1, 3, 2])]))
    pooled.sum().backward()
    assert (cosines.grad != 0).sum() == 6  # the winning region of each image and attribute learns, and no other
    soft = pooled_cosines(cosines, counts, "logsumexp", 0.1)
    torch.testing.assert_close(soft[0], cosines[0])
    torch.testing.assert_close(soft[2], 0.1 * (cosines[4:] / 0.1).exp().sum(dim=0).log())
    cosines.grad = None
    soft.sum().backward()
    assert (cosines.grad > 0).all()
    for wrong in ([1, 3], [6, 0], [7]):
        with pytest.raises(ValueError, match="expected one count for each image"):
            pooled_cosines(cosines, torch.tensor(wrong))


def test_regions_of_one_text_are_no_negatives_where_groups_are_given():
    rows = torch.nn.functional.normalize(torch.randn(3, 4), dim=-1)
    texts = torch.stack([rows[0], rows[0], rows[2]])
    all_of_them = region_text_loss(rows, texts)
    without = region_text_loss(rows, texts, groups=torch.tensor([0, 0, 1]))
    assert without < all_of_them
    torch.testing.assert_close(region_text_loss(rows, texts, groups=torch.arange(3)), all_of_them)
    with pytest.raises(ValueError, match=r"expected \(N, D\) of both"):
        region_text_loss(rows, texts[:2])
