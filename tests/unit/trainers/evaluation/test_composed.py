import pytest
import torch

from trainers.evaluation.composed import composed_scores, mean_of

GALLERY = torch.eye(4)
NEAR_FIRST = torch.tensor([[0.9, 0.5, 0.3, 0.1]])  # ranks the gallery 0, 1, 2, 3


def test_recall_is_by_the_first_target_that_is_found():
    scores = composed_scores(NEAR_FIRST.repeat(2, 1), GALLERY, [[1], [3, 2]], recall_at=(1, 2, 3))
    assert scores.recall == {1: 0.0, 2: 50.0, 3: 100.0}
    assert scores.median_rank == 2.5
    assert scores.queries == 2
    assert scores.subset_recall == {}
    assert scores.mean_average_precision == {}


def test_the_hidden_image_takes_no_rank():
    scores = composed_scores(NEAR_FIRST, GALLERY, [[1]], hidden=[0], recall_at=(1,))
    assert scores.recall == {1: 100.0}
    assert composed_scores(NEAR_FIRST, GALLERY, [[1]], hidden=[None], recall_at=(1,)).recall == {1: 0.0}


def test_a_subset_is_ranked_by_itself():
    scores = composed_scores(NEAR_FIRST.repeat(2, 1), GALLERY, [[2], [2]], subsets=[[2, 3], []])
    assert scores.subset_recall == {1: 100.0, 2: 100.0, 3: 100.0}  # of the query that has one
    assert composed_scores(NEAR_FIRST, GALLERY, [[3]], subsets=[[1, 2, 3]]).subset_recall == {1: 0.0, 2: 0.0, 3: 100.0}


def test_precision_is_circo_s():
    """Targets on ranks 1 and 3 of 4: AP@2 is (1/1) / 2, AP@3 is (1/1 + 2/3) / 2, and AP@1 divides by 1."""
    scores = composed_scores(NEAR_FIRST, GALLERY, [[0, 2]], precision_at=(1, 2, 3))
    assert scores.mean_average_precision == pytest.approx({1: 100.0, 2: 50.0, 3: 100 * (1 + 2 / 3) / 2})


def test_ties_count_against_the_model():
    assert composed_scores(torch.ones(1, 4), GALLERY, [[2]], recall_at=(1, 3, 4)).recall == {1: 0.0, 3: 0.0, 4: 100.0}


def test_chunks_change_nothing():
    queries, gallery = torch.randn(7, 5), torch.randn(20, 5)
    targets = [[number, number + 7] for number in range(7)]
    assert composed_scores(queries, gallery, targets, chunk=2) == composed_scores(queries, gallery, targets)


def test_the_mean_counts_every_set_alike():
    first = composed_scores(NEAR_FIRST, GALLERY, [[0]], recall_at=(1,))
    second = composed_scores(NEAR_FIRST.repeat(3, 1), GALLERY, [[1]] * 3, recall_at=(1,))
    mean = mean_of([first, second])
    assert mean.recall == {1: 50.0}
    assert mean.queries == 4


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"targets": [[]]}, "query 0 has no target"),
        ({"targets": [[4]]}, "place 4 is not in the gallery of 4"),
        ({"targets": [[0], [1]]}, "2 lists of places for 1 queries"),
        ({"hidden": [9]}, "place 9"),
        ({"subsets": [[-1]]}, "place -1"),
        ({"queries": torch.ones(1, 3)}, "queries are 3 wide and the gallery 4"),
        ({"queries": torch.full((1, 4), torch.nan)}, "not finite"),
        ({"gallery": torch.zeros(0, 4)}, "one row at least"),
    ],
)
def test_what_does_not_belong_together_is_refused(changes, complaint):
    given = {"queries": NEAR_FIRST, "gallery": GALLERY, "targets": [[0]], **changes}
    queries, gallery, targets = (given.pop(name) for name in ("queries", "gallery", "targets"))
    with pytest.raises(ValueError, match=complaint):
        composed_scores(queries, gallery, targets, **given)
