"""Which tokens merge, what they become, and the way back; recorded outputs are in tests/parity."""

import pytest
import torch

from adaptkit.wrappers.token_merging.matching import (
    bipartite_soft_matching,
    fold_matching,
    kth_soft_matching,
    merge,
    merge_sources,
    merge_weighted,
    random_soft_matching,
    unmerge,
)


def tokens(n=13, width=6):
    return torch.randn(2, n, width)


def all_matchings(metric):
    n = metric.shape[1]
    return [
        bipartite_soft_matching(metric, 4),
        bipartite_soft_matching(metric, 4, protected=0),
        bipartite_soft_matching(metric, 3, protected=2),
        bipartite_soft_matching(metric, 4, protected=0, order="score"),
        kth_soft_matching(metric, 3),
        random_soft_matching(metric, 5, torch.rand(2, n)),
        fold_matching(metric, torch.tensor([[0, 2, 5, 6], [0, 1, 2, 11]])),
    ]


def test_the_way_back_gives_every_token_the_mean_of_its_group():
    metric, x = tokens(), tokens()
    for matching in all_matchings(metric):
        averages, sizes = merge_weighted(matching, x)
        groups = merge_sources(matching)  # (B, n', N)
        means = groups @ x / groups.sum(dim=-1, keepdim=True)
        torch.testing.assert_close(averages, means)
        torch.testing.assert_close(sizes, groups.sum(dim=-1, keepdim=True))
        placed = matching.n_before
        torch.testing.assert_close(unmerge(matching, averages), (groups.mT @ means)[:, :placed])


def test_sizes_go_on_adding_up_to_the_tokens_of_the_start():
    x, sizes = tokens(), None
    for _ in range(3):
        matching = bipartite_soft_matching(x, 3)
        x, sizes = merge_weighted(matching, x, sizes)
    assert x.shape[1] == 13 - 3 * 3
    torch.testing.assert_close(sizes.sum(dim=1).squeeze(-1), torch.tensor([13.0, 13.0]))


@pytest.mark.parametrize("protected", [1, 2, 3, 5])
def test_protected_tokens_stay_in_front_and_nothing_merges_into_them(protected):
    metric = tokens()
    metric[:, :protected] = metric[:, protected : protected + 1]  # as similar as can be
    matching = bipartite_soft_matching(metric, 100, protected)
    assert matching.kept[:, :protected].tolist() == [list(range(protected))] * 2
    assert matching.source.min() >= protected
    assert matching.target.min() >= protected
    assert matching.source.shape[1] == (13 - protected) // 2


def test_without_a_class_token_unmerged_tokens_keep_their_order_or_fall_in_score():
    metric = tokens(12)
    unmerged = bipartite_soft_matching(metric, 2, protected=0).kept[:, :4]
    assert torch.equal(unmerged, unmerged.sort(dim=-1).values)
    by_score = bipartite_soft_matching(metric, 2, protected=0, order="score").kept[:, :4]
    assert torch.equal(by_score.sort(dim=-1).values, unmerged)
    assert not torch.equal(by_score, unmerged)


def test_equal_tokens_merge_from_the_front():
    matching = bipartite_soft_matching(torch.ones(1, 9, 4), 2)
    assert matching.source.tolist() == [[2, 4]]
    assert matching.kept.tolist() == [[0, 6, 8, 1, 3, 5, 7]]


def test_gradients_flow_through_averages_and_not_through_the_choice():
    metric, x = tokens().requires_grad_(), tokens().requires_grad_()
    averages, _ = merge_weighted(bipartite_soft_matching(metric, 4), x)
    averages.sum().backward()
    assert metric.grad is None
    torch.testing.assert_close(x.grad.sum(dim=1), torch.full((2, 6), 9.0))  # each average has weights that add up to 1
    assert (x.grad > 0).all()


def test_a_sum_and_a_maximum_are_over_the_token_and_what_merges_into_it():
    metric = torch.tensor([[[1.0, 0], [0, 1], [0, 2], [1, 0], [0, 3]]])  # 2 and 4 are nearest to 1
    x = torch.arange(5.0).view(1, 5, 1)
    matching = bipartite_soft_matching(metric, 2)
    assert matching.kept.tolist() == [[0, 1, 3]]
    assert merge(matching, x, "sum").flatten().tolist() == [0, 7, 3]
    assert merge(matching, x, "amax").flatten().tolist() == [0, 4, 3]
    assert merge(matching, x, "mean").flatten().tolist() == pytest.approx([0, 7 / 3, 3])


@pytest.mark.parametrize("k", [0, 1, 14])
def test_a_split_that_leaves_nothing_to_merge_is_refused(k):
    with pytest.raises(ValueError, match=rf"k={k}; expected 2 to the number of tokens, 13"):
        kth_soft_matching(tokens(), k)


@pytest.mark.parametrize("r", [-1, 13])
def test_a_random_split_needs_a_token_to_merge_into(r):
    with pytest.raises(ValueError, match=rf"r={r}; expected 0 to one less than the number of tokens, 13"):
        random_soft_matching(tokens(), r, torch.rand(2, 13))


def test_tokens_of_half_precision_keep_it():
    x = tokens().bfloat16()
    averages, sizes = merge_weighted(bipartite_soft_matching(x, 4), x)
    assert averages.dtype == torch.bfloat16
    assert sizes.sum(dim=1).flatten().tolist() == [13, 13]
