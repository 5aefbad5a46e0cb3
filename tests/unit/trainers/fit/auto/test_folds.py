"""Folds: every image at most once, every class always learnt, equal images on one side, the same for a seed."""

from collections import Counter

import pytest
import torch

from trainers.fit.auto.folds import alike, all_alike, make_folds


def folds(counts, seed=1, first=None):
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    return labels, make_folds(labels, first or list(range(len(labels))), seed)


@pytest.mark.parametrize("counts", [[2, 2], [16, 16, 16], [1, 7, 30], [2, 3, 4, 5], [5] * 100])
def test_no_image_is_learnt_and_held_out_and_no_class_is_missing(counts):
    labels, made = folds(counts)
    assert len(made.held) == min(5, max(counts))
    for number, held in enumerate(made.held):
        learnt = made.learnt(number)
        assert held
        assert not set(held) & set(learnt)
        assert sorted((*held, *learnt)) == list(range(len(labels)))
        assert {labels[place] for place in learnt} == set(range(len(counts)))
    times = Counter(place for held in made.held for place in held)
    assert set(times.values()) == {1}
    assert {place for place in range(len(labels)) if place not in times} == {
        place for place, label in enumerate(labels) if counts[label] == 1
    }


def test_folds_are_stratified_and_of_equal_size():
    labels, made = folds([10, 20, 7])
    for label, count in ((0, 10), (1, 20), (2, 7)):
        shares = [sum(labels[place] == label for place in held) for held in made.held]
        assert max(shares) - min(shares) <= 1
        assert sum(shares) == count
    sizes = [len(held) for held in made.held]
    assert max(sizes) - min(sizes) <= 1


def test_a_seed_gives_its_own_folds_and_always_the_same():
    assert folds([16, 16], seed=3)[1] == folds([16, 16], seed=3)[1]
    assert folds([16, 16], seed=3)[1] != folds([16, 16], seed=4)[1]


def test_the_first_folds_give_their_places_one_after_another():
    _, made = folds([4, 4])
    assert made.first(2).tolist() == [*made.held[0], *made.held[1]]


@pytest.mark.parametrize("counts", [[1, 1], [1, 1, 1, 2], [1, 2], [30]])
def test_there_are_none_where_too_few_classes_have_two_images(counts):
    assert folds(counts)[1] is None


def test_equal_images_of_a_class_are_on_one_side():
    features = torch.randn(12, 8, generator=torch.Generator().manual_seed(0))
    features[3] = 2 * features[1]  # as long as its direction is the same
    features[5] = features[4]
    features[9] = features[0]  # of another class
    labels = [0] * 6 + [1] * 6
    first = alike(features, labels)
    assert first == [0, 1, 2, 1, 4, 4, 6, 7, 8, 9, 10, 11]
    made = make_folds(labels, first, 1)
    place_of = {place: number for number, held in enumerate(made.held) for place in held}
    assert place_of[1] == place_of[3]
    assert place_of[4] == place_of[5]


def test_a_class_of_copies_is_never_held_out():
    labels, first = [0, 0, 0, 1, 1, 2, 2], [0, 0, 0, 3, 4, 5, 6]
    made = make_folds(labels, first, 1)
    assert not {0, 1, 2} & {place for held in made.held for place in held}


def test_images_that_are_all_alike_are_noticed():
    one = torch.randn(1, 8, generator=torch.Generator().manual_seed(0))
    assert all_alike(one * torch.tensor([[1.0], [2.0], [0.5]]))
    assert not all_alike(torch.cat([one, one + 0.1]))
