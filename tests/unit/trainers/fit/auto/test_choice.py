"""The rule of one standard error, and the cheapest of near equals."""

from types import SimpleNamespace

import numpy as np
import pytest

from trainers.fit.auto.choice import choose
from trainers.fit.auto.scores import difference, estimate

LABELS = np.zeros(100, dtype=np.int64)
PLAIN = np.arange(100) < 50


def standing(label, hits, place):
    contender = SimpleNamespace(label=label, place=place)
    score, above = estimate(hits, LABELS, "accuracy"), difference(hits, PLAIN, LABELS, "accuracy")
    return SimpleNamespace(contender=contender, score=score, above=above, hits=hits)


def chosen(*standings):
    ranked = sorted(standings, key=lambda one: (-one.score.mean, one.contender.place))
    return choose(ranked, lambda one: (one.hits, PLAIN, LABELS), "accuracy")


def more(count, lost=0):
    """Zero-shot's hits, with `count` more and `lost` of them missing."""
    return (np.arange(100) >= lost) & (np.arange(100) < 50 + count)


def test_the_best_wins_where_it_is_clearly_above_zero_shot():
    choice = chosen(standing("a", more(10), 0), standing("b", more(30), 1))
    assert choice.standing.contender.label == "b"
    assert choice.sentence.startswith("b is chosen: 80.0 % of 100 held-out images, +30.0 ± 4.6 against zero-shot")


@pytest.mark.parametrize("hits", [PLAIN, more(1), more(5, lost=5), more(6, lost=4), more(0, lost=3)])
def test_zero_shot_is_kept_where_nothing_beats_it_by_more_than_its_error(hits):
    choice = chosen(standing("a", hits, 0))
    assert choice.standing is None
    assert choice.sentence.startswith("zero-shot is kept: the best of 1 contenders, a, is ")


def test_more_than_one_image_and_no_loss_is_enough():
    assert chosen(standing("a", more(2), 0)).standing is not None


def test_of_near_equals_the_cheapest_wins():
    near, best = more(20), more(21)  # which differ on nine images, of which the best has five
    near[45:49], near[71:75] = False, True
    choice = chosen(standing("cheap", near, 0), standing("dear", best, 1), standing("worse", more(10), 2))
    assert choice.standing.contender.label == "cheap"
    assert "the cheapest of 2 that are within half a standard error of the best" in choice.sentence


def test_a_cheap_one_that_does_not_beat_zero_shot_is_no_equal():
    noisy = np.concatenate([np.zeros(40, dtype=bool), np.ones(52, dtype=bool), np.zeros(8, dtype=bool)])
    choice = chosen(standing("cheap", noisy, 0), standing("dear", more(4), 1))
    assert choice.standing.contender.label == "dear"
