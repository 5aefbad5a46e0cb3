"""Single linkage against connected components found the obvious way, thresholds, and metrics against others."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.heads.multimodal_linking import (
    adjusted_rand,
    b_cubed,
    normalised_mutual_information,
    pairwise,
    pooled,
    records_of,
    single_linkage,
    top1_link_accuracy,
    tune_pooling,
    tune_threshold,
)


def components(vectors: Tensor, threshold: float) -> list[int]:
    """Clusters by walking from neighbour to neighbour."""
    rows = F.normalize(vectors.double(), dim=1)
    near = 1 - rows @ rows.T <= threshold + 1e-6
    cluster = [-1] * len(rows)
    for start in range(len(rows)):
        waiting = [start] if cluster[start] < 0 else []
        number = max(cluster) + 1
        while waiting:
            place = waiting.pop()
            if cluster[place] < 0:
                cluster[place] = number
                waiting += near[place].nonzero()[:, 0].tolist()
    return cluster


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.3, 0.5, 0.8, 2.0])
def test_clusters_are_the_connected_components_of_near_pairs(threshold):
    vectors = torch.randn(40, 4)
    assert single_linkage(vectors, threshold).tolist() == components(vectors, threshold)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_pair_at_exactly_the_threshold_is_linked(dtype):
    vectors = torch.tensor([[1, 0], [0.6, 0.8], [-0.8, 0.6]], dtype=dtype)
    assert single_linkage(vectors, 0.4).tolist() == [0, 0, 1]
    assert single_linkage(vectors, 0.399).tolist() == [0, 1, 2]


def test_one_record_is_one_cluster():
    assert single_linkage(torch.randn(1, 4), 0.5).tolist() == [0]


def test_metrics_equal_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    for _ in range(5):
        clusters, groups = torch.randint(5, (30,)), torch.randint(7, (30,))
        ours = (adjusted_rand(clusters, groups), normalised_mutual_information(clusters, groups))
        theirs = (
            metrics.adjusted_rand_score(groups, clusters),
            metrics.normalized_mutual_info_score(groups, clusters),
        )
        assert ours == pytest.approx(theirs)


def test_pairs_and_b_cubed_are_what_counting_gives():
    clusters, groups = torch.tensor([0, 0, 0, 1, 2]), torch.tensor([0, 0, 1, 1, 2])
    pairs = list(itertools.combinations(range(5), 2))
    same_cluster = {pair for pair in pairs if clusters[pair[0]] == clusters[pair[1]]}
    same_group = {pair for pair in pairs if groups[pair[0]] == groups[pair[1]]}
    both = len(same_cluster & same_group)
    found = pairwise(clusters, groups)
    assert (found.precision, found.recall) == pytest.approx((both / len(same_cluster), both / len(same_group)))
    assert b_cubed(clusters, groups).precision == pytest.approx((2 / 3 + 2 / 3 + 1 / 3 + 1 + 1) / 5)
    assert b_cubed(clusters, groups).recall == pytest.approx((1 + 1 + 1 / 2 + 1 / 2 + 1) / 5)


def test_the_same_division_scores_one_under_other_numbers():
    groups = torch.tensor([3, 3, 1, 0])
    clusters = torch.tensor([0, 0, 7, 2])
    assert adjusted_rand(clusters, groups) == 1
    assert normalised_mutual_information(clusters, groups) == pytest.approx(1)
    assert pairwise(clusters, groups).f1 == 1
    assert b_cubed(clusters, groups).f1 == pytest.approx(1)


@pytest.mark.parametrize("criterion", ["ari", "f1"])
def test_the_threshold_is_the_best_of_all(criterion):
    vectors, groups = torch.randn(24, 4), torch.arange(12).repeat(2)
    tuned = tune_threshold(vectors, groups, criterion)

    def score(threshold: float) -> float:
        clusters = single_linkage(vectors, threshold)
        return adjusted_rand(clusters, groups) if criterion == "ari" else pairwise(clusters, groups).f1

    assert score(tuned.threshold) == pytest.approx(tuned.score)
    assert tuned.score >= max(score(step / 200) for step in range(401)) - 1e-12


def test_a_weight_is_tuned_towards_what_tells_groups_apart():
    groups = torch.arange(6).repeat(2)
    told, noise = torch.eye(6).repeat(2, 1), torch.randn(12, 6)
    assert tune_pooling(records_of(told, noise), groups).weight > 0.5
    assert tune_pooling(records_of(noise, told), groups).weight < 0.5


def test_ties_do_not_count_as_links():
    groups = torch.tensor([0, 0, 1, 1])
    assert top1_link_accuracy(torch.ones(4, 3), groups) == 0
    assert top1_link_accuracy(pooled(records_of(torch.eye(2)[[0, 0, 1, 1]], None)), groups) == 1
    with pytest.raises(ValueError, match="nothing to link"):
        top1_link_accuracy(torch.eye(2), torch.arange(2))
