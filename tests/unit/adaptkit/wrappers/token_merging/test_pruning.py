"""Which patches pruning keeps; recorded outputs are in tests/parity."""

import torch

from adaptkit.wrappers.token_merging.pruning import (
    attention_criterion,
    count_after_pruning,
    grid_positions,
    keep_beside,
    keep_best,
    keep_united,
)


def test_the_criterion_is_the_mean_attention_of_those_who_ask():
    q, k = torch.randn(2, 3, 4, 8), torch.randn(2, 3, 10, 8)
    expected = torch.stack(
        [(q[:, :, i : i + 1] @ k.mT / 8**0.5).softmax(dim=-1)[:, :, 0].mean(dim=1) for i in range(4)]
    ).mean(dim=0)
    torch.testing.assert_close(attention_criterion(q, k), expected)
    torch.testing.assert_close(attention_criterion(q, k).sum(dim=-1), torch.ones(2))


def test_the_grid_is_where_rows_and_columns_meet():
    assert grid_positions(7, 7, 3).tolist() == [0, 3, 6, 21, 24, 27, 42, 45, 48]
    assert grid_positions(2, 5, 3).tolist() == [0, 3]


def test_the_best_are_kept_in_their_order_and_ties_from_the_front():
    assert keep_best(torch.tensor([0.1, 0.3, 0.2, 0.3, 0.3]), 3).tolist() == [1, 3, 4]
    assert keep_best(torch.tensor([0.3, 0.3, 0.3]), 2).tolist() == [0, 1]


def test_a_batch_keeps_the_united_patches_and_as_many_for_every_image():
    criterion, always = torch.rand(5, 49), grid_positions(7, 7, 3)
    kept = keep_beside(criterion, 14, always)
    assert kept.shape == (5, 14 + 9)
    for row, places in zip(criterion, kept, strict=True):
        assert set(keep_united(row, 14, always).tolist()) <= set(places.tolist())
        assert places.tolist() == sorted(set(places.tolist()))


def test_no_more_are_kept_than_there_are():
    assert keep_beside(torch.rand(2, 6), 5, torch.tensor([0, 3])).tolist() == [[0, 1, 2, 3, 4, 5]] * 2


def test_counts_are_cut_off_as_the_released_code_does():
    assert count_after_pruning(49, 0.7) == 14
    assert count_after_pruning(22, 0.7, stage=2) == 1
    assert count_after_pruning(576, 0.75) == 144
