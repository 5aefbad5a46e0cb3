"""Scores of links with intervals: each group drawn once gives the plain scores."""

import pytest
import torch

from adaptkit.heads.multimodal_linking import adjusted_rand, b_cubed, pairwise
from trainers.evaluation.linking import _cluster_scores, bootstrap_intervals, link_scores


def drawn(count: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randint(12, (count,)).unique(return_inverse=True)[1], torch.randint(9, (count,))


def test_groups_that_are_each_drawn_once_give_the_plain_scores():
    groups, clusters = drawn()
    once = torch.ones(1, int(groups.max()) + 1, dtype=torch.float64)
    found = {name: float(value) for name, value in _cluster_scores(clusters, groups, once).items()}
    assert found == pytest.approx(
        {
            "ari": adjusted_rand(clusters, groups),
            "pairs_f1": pairwise(clusters, groups).f1,
            "b_cubed_f1": b_cubed(clusters, groups).f1,
        }
    )


def test_intervals_hold_the_scores_and_are_repeatable():
    groups, clusters = drawn(200)
    asks, right = torch.arange(200), torch.rand(200) < 0.5
    found = bootstrap_intervals(groups, asks, right, clusters, draws=200, seed=1)
    assert found == bootstrap_intervals(groups, asks, right, clusters, draws=200, seed=1)
    low, high = found["top1"]
    assert low < float(right.double().mean()) < high
    assert set(found) == {"top1", "ari", "pairs_f1", "b_cubed_f1"}
    assert set(bootstrap_intervals(groups, asks, right)) == {"top1"}


def test_perfect_clusters_have_no_spread():
    groups = torch.arange(5).repeat(2)
    found = bootstrap_intervals(groups, torch.arange(10), torch.ones(10, dtype=torch.bool), groups, draws=50)
    assert all(interval == (1, 1) for interval in found.values())


def test_links_without_clusters_have_no_scores_of_clusters():
    scores = link_scores(torch.tensor([0, 0, 1]), torch.tensor([0, 1]), torch.tensor([True, False]))
    assert (scores.records, scores.groups, scores.top1, scores.ari) == (3, 2, 0.5, None)
    with pytest.raises(ValueError, match="draws=0"):
        bootstrap_intervals(torch.tensor([0]), torch.tensor([0]), torch.tensor([True]), draws=0)
