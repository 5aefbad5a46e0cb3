"""Folds: every image is held out once, no copy of it is learnt from, and every class stays in every training."""

from collections import Counter

import pytest

from trainers.fit.folds import fold_of_each


def places(counts: list[int], folds: int, seed: int = 0) -> tuple[list[int], list[int | None]]:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    return labels, fold_of_each(labels, [str(number) for number in range(len(labels))], folds, seed)


@pytest.mark.parametrize("counts", [[5, 5, 5], [2, 9, 16, 3], [4] * 7, [1, 6, 2]])
def test_every_class_is_in_every_training_and_spread_evenly(counts):
    labels, found = places(counts, 5)
    for label, count in enumerate(counts):
        of_class = Counter(place for own, place in zip(labels, found, strict=True) if own == label)
        if count == 1:
            assert of_class == {None: 1}
        else:
            assert max(of_class.values()) < count
            assert max(of_class.values()) - min(of_class.values()) <= 1
            assert None not in of_class


def test_folds_are_of_one_size():
    _, found = places([4] * 10, 5)
    assert set(Counter(found).values()) == {8}


def test_a_seed_gives_the_same_folds_and_another_gives_others():
    assert places([8, 8], 4, seed=1) == places([8, 8], 4, seed=1)
    assert places([8, 8], 4, seed=1) != places([8, 8], 4, seed=2)


def test_copies_of_an_image_share_a_fold():
    labels, marks = [0] * 6 + [1] * 3, ["a", "b", "a", "c", "d", "a", "e", "f", "b"]
    found = fold_of_each(labels, marks, 4, 0)
    assert found[0] == found[2] == found[5]
    assert found[1] == found[8], "a copy under another class is a copy"
    assert fold_of_each([0, 0, 1, 1], ["a", "a", "b", "c"], 2, 0)[:2] == [None, None]
