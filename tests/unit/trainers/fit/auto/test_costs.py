"""Costs in steps are counted, and in seconds they are estimated from what trials took."""

from types import SimpleNamespace

import pytest

from trainers.budget import read_budget
from trainers.fit.auto.costs import MARGIN, Costs, Speeds


def contender(method="taskres", full=100, length="OPTIM.STEPS", tier="features", consumes="features"):
    candidate = SimpleNamespace(method=method, length=length, tier=tier)
    config = SimpleNamespace(optim=SimpleNamespace(batch_size=8))
    return SimpleNamespace(candidate=candidate, full=full, consumes=consumes, config=lambda length: config)


def costs(written, begun=5.0, test_images=0):
    return Costs(read_budget(written), Speeds(image=0.1, texts=0.01, begun=begun), test_images)


def test_steps_are_those_of_every_training_and_nothing_depends_on_seconds():
    counted, one = costs("500steps"), contender()
    counted.take((one, one), 25, seconds=1e9)
    assert counted.spent == 50
    assert counted.trial((one, one, one), 30) == 90
    assert counted.refit(one) == 100
    assert counted.refit(None) == counted.refit(contender(full=0, length=None)) == 0
    assert counted.fits(350, refit=100)
    assert not counted.fits(351, refit=100)
    assert counted.fits(150, refit=100, until=0.5)
    assert not counted.fits(151, refit=100, until=0.5)


def test_shares_of_a_time_are_of_what_is_left_after_the_beginning():
    timed = costs("105s")
    assert timed.fits(45, refit=10, until=0.5)
    assert not timed.fits(45.1, refit=10, until=0.5)


def test_seconds_are_a_fixed_part_and_one_by_steps():
    timed, one = costs("100s"), contender()
    assert timed.spent == 5
    timed.take((one,), 1, seconds=2.1)
    timed.take((one,), 3, seconds=2.3)
    assert timed.spent == pytest.approx(9.4)
    assert timed.trial((one,), 11) == pytest.approx(MARGIN * 3.1)
    assert timed.refit(one) == pytest.approx(MARGIN * 12)


def test_the_test_part_and_the_towers_are_foreseen():
    timed = costs("100s", test_images=50)
    assert timed.refit(None) == pytest.approx(MARGIN * 5)
    on_images = contender(method="clip_lora", tier="images", consumes="images")
    assert timed.trial((on_images,), 10) == pytest.approx(MARGIN * 3 * 8 * 0.1 * 10)
    assert timed.refit(on_images) == pytest.approx(MARGIN * (15 + 3 * 8 * 0.1 * 100))
    assert timed.trial((contender(tier="prompts"),), 10) == pytest.approx(MARGIN * 2 * 0.01 * 10)


def test_a_fit_in_one_go_costs_what_it_cost_before():
    timed, one = costs("100s"), contender(method="gda", full=0, length=None)
    assert timed.trial((one,), 0) == 0
    assert not timed.knows_speed(one)
    timed.take((one,), 0, seconds=3.0)
    assert timed.knows_speed(one)
    assert timed.trial((one,), 0) == pytest.approx(MARGIN * 3)


def test_a_first_fit_in_one_go_is_taken_to_be_as_long_as_the_longest_so_far():
    timed = costs("100s")
    for method, seconds in (("tip_adapter", 40.0), ("gda", 2.0)):
        timed.take((contender(method=method, full=0, length=None),), 0, seconds)
    new, in_steps = contender(method="clap", full=0, length=None), contender()
    assert timed.trial((new,), 0) == timed.refit(new) == pytest.approx(MARGIN * 40)
    assert timed.trial((in_steps,), 100) == 0
    assert not timed.fits(timed.trial((new,), 0), timed.refit(new))
