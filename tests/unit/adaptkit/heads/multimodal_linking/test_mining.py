"""Hard negatives are of other groups, never the record itself, and meet it in a batch."""

import pytest
import torch

from adaptkit.heads.multimodal_linking import hard_negatives, mined_batches


def test_negatives_are_of_other_groups_only_and_never_the_record_itself():
    vectors, groups = torch.randn(30, 8), torch.randint(6, (30,))
    negatives = hard_negatives(vectors, groups, k=3, chunk=7)
    assert negatives.shape == (30, 3)
    assert (groups[negatives] != groups[:, None]).all()
    assert (negatives != torch.arange(30)[:, None]).all()
    assert all(len(set(groups[row].tolist())) == 3 for row in negatives)


def test_the_nearest_of_the_nearest_groups_come_first():
    vectors = torch.tensor([[1.0, 0], [1, 0.01], [0.9, 0.1], [0.5, 0.5], [0, 1]])
    groups = torch.tensor([0, 0, 1, 1, 2])
    assert hard_negatives(vectors, groups, k=5)[0].tolist() == [2, 4]


def test_a_batch_has_partners_and_the_groups_near_to_them():
    groups = torch.arange(10).repeat(3)
    vectors = torch.nn.functional.one_hot(groups // 2, 5).float() + 0.01 * torch.randn(30, 5)  # groups near in twos
    negatives = hard_negatives(vectors, groups, k=1)
    seen = []
    for places in mined_batches(groups, negatives, 8, 2, torch.Generator().manual_seed(0)):
        inside = groups[places].unique(return_counts=True)
        assert (inside[1] == 2).all()
        assert set((inside[0] ^ 1).tolist()) <= set(inside[0].tolist())
        seen.append(places)
    assert set(groups[torch.cat(seen)].tolist()) == set(range(10))


def test_the_same_generator_gives_the_same_batches():
    groups = torch.arange(6).repeat(2)
    found = [
        torch.cat(list(mined_batches(groups, None, 4, 2, torch.Generator().manual_seed(seed)))) for seed in (1, 1, 2)
    ]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_what_cannot_be_mined_is_refused():
    with pytest.raises(ValueError, match="among 1 groups"):
        hard_negatives(torch.randn(3, 4), torch.zeros(3, dtype=torch.long))
    with pytest.raises(ValueError, match="with 0 groups of two records"):
        next(mined_batches(torch.arange(3), None, 4, 2, torch.Generator()))
    with pytest.raises(ValueError, match="per_group=1"):
        next(mined_batches(torch.zeros(3, dtype=torch.long), None, 4, 1, torch.Generator()))
