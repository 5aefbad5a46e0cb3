"""Successive halving on trials that are made up: who goes on, what a budget has room for, and who is out."""

from types import SimpleNamespace

import numpy as np
import pytest

from trainers.budget import read_budget
from trainers.fit.auto.costs import Costs, Speeds
from trainers.fit.auto.search import Search, rungs
from trainers.fit.auto.trials import Trial
from trainers.fit.folds import make_folds

CLASSES, SHOTS = 2, 20
LABELS = [label for label in range(CLASSES) for _ in range(SHOTS)]
FOLDS = make_folds(LABELS, list(range(len(LABELS))), 1)


def contender(place, right, full=100, late=False, length="OPTIM.STEPS"):
    """One that is right on so many of ten images of a class; where it is `late`, only when it trains in full."""
    candidate = SimpleNamespace(method=f"m{place}", tier="features", length=length)
    return SimpleNamespace(
        place=place,
        label=f"m{place}",
        candidate=candidate,
        full=full,
        consumes="features",
        side_by_side=None,
        right=right,
        late=late,
    )


class MadeUp:
    """Trials whose answers are as good as a contender is said to be, and whose seconds go with their steps."""

    def __init__(self):
        items = [SimpleNamespace(label=label) for label in LABELS]
        self.ground = SimpleNamespace(items=items, folds=FOLDS, classnames=("a", "b"))
        self.asked = []

    def trial(self, loop, length, fold, keep_logits):
        held = np.array(FOLDS.held[fold])
        labels, (one,) = np.array(LABELS)[held], loop
        self.asked.append((one.label, length, fold, keep_logits))
        if one.right is None:
            return Trial(np.full((1, len(held)), -1), None, 1.0, f"{self.asked[-1]}", "it does not work here")
        right = held % 10 < (one.right if length == one.full or not one.late else 0)
        logits = np.zeros((1, len(held), CLASSES), dtype=np.float32) if keep_logits else None
        seconds = 0.5 + length / 100
        return Trial(np.where(right, labels, 1 - labels)[None], logits, seconds, f"{one.label} {length} {fold}")


def searched(contenders, budget, test_images=0, image=0.0):
    trials, costs = MadeUp(), Costs(read_budget(budget), Speeds(image, 0.0, 0.0), test_images)
    plain = np.where(np.arange(len(LABELS)) % 10 < 3, LABELS, 1 - np.array(LABELS))
    search = Search(contenders, trials, costs, plain, "balanced_accuracy", lambda message: None)
    return search, search.run(), trials


def test_rungs_add_steps_and_folds():
    assert [(rung.folds, rung.share, rung.is_last) for rung in rungs(5)] == [
        (2, 0.25, False),
        (3, 0.5, False),
        (5, 1, True),
    ]
    assert [rung.folds for rung in rungs(2)] == [1, 2, 2]


def test_the_better_half_goes_on_and_the_best_is_first():
    search, reached, trials = searched([contender(place, place) for place in range(8)], "3000steps")
    assert [one.contender.label for one in reached] == ["m7", "m6"]
    lengths = {label: max(length for name, length, *_ in trials.asked if name == label) for label in ("m1", "m5", "m7")}
    assert lengths == {"m1": 25, "m5": 50, "m7": 100}
    assert reached[0].steps == 2 * 25 + 3 * 50 + 5 * 100
    assert search.costs.spent == sum(one.steps for one in search.standings)
    assert reached[0].logits.shape == (len(LABELS), CLASSES)
    assert reached[0].score.mean == pytest.approx(70)
    assert reached[0].above.mean == pytest.approx(40)


def test_who_costs_next_to_nothing_is_carried_along():
    contenders = [contender(place, place) for place in range(8)]
    assert len(searched(contenders, "1000000steps")[1]) == 8


def test_what_is_slow_to_learn_is_found_with_a_large_budget():
    contenders = [*(contender(place, 4) for place in range(4)), contender(4, 9, late=True)]
    assert searched(contenders, "1000000steps")[1][0].contender.label == "m4"
    assert searched(contenders, "2000steps")[1][0].contender.label == "m0"


def test_the_budget_is_kept_with_the_refit():
    contenders = [contender(place, place, full=100 * (place + 1)) for place in range(6)]
    for budget in (200, 500, 1000, 2000, 5000):
        search, reached, _ = searched(contenders, f"{budget}steps")
        refit = max((one.contender.full for one in reached), default=0)
        assert search.costs.spent + refit <= budget
        assert all(one.unpaid for one in search.standings if one.rung is None)


def test_those_without_room_in_the_first_rung_are_trained_in_full_with_what_is_left():
    free, dear, late = contender(0, 4, full=0, length=None), contender(1, 3, full=800), contender(2, 7, full=200)
    search, reached, trials = searched([free, dear, late], "1650steps")
    assert [one.contender.label for one in reached] == ["m2", "m0"]
    assert {length for label, length, *_ in trials.asked if label == "m2"} == {200}
    assert search.standings[1].rung == search.rungs[0]
    search, reached, _ = searched([free, dear, contender(2, 7, full=220)], "1650steps")
    assert [one.contender.label for one in reached] == ["m0"]
    assert search.standings[2].rung is None


def test_nothing_reaches_a_rung_without_a_budget():
    search, reached, trials = searched([contender(0, 5)], "10steps")
    assert reached == []
    assert trials.asked == []
    assert search.standings[0].unpaid == search.rungs[0]


def test_one_that_cannot_be_trained_is_out_and_the_others_go_on():
    search, reached, _ = searched([contender(0, None), contender(1, 5)], "5000steps")
    assert [one.contender.label for one in reached] == ["m1"]
    assert search.standings[0].is_out
    assert search.standings[0].failure == "it does not work here"


def test_a_time_is_spent_by_what_trials_wrote_down():
    search, reached, trials = searched([contender(0, 5), contender(1, 6, full=10**6)], "60s")
    assert reached[0].contender.label == "m0"
    spent = sum(0.5 + length / 100 for _, length, _ in {asked[:3] for asked in trials.asked})
    assert search.costs.spent == pytest.approx(spent)
    assert spent <= 60


def test_a_time_is_left_for_the_test():
    assert searched([contender(0, 5)], "60s", test_images=100, image=0.5)[1] == []
