"""Budgets as they are written."""

import pytest

from trainers.budget import read_budget


@pytest.mark.parametrize(
    ("written", "seconds", "steps"),
    [
        ("90s", 90, None),
        ("10min", 600, None),
        (" 1.5 h ", 5400, None),
        ("30 sec", 30, None),
        ("2000steps", None, 2000),
        ("1 step", None, 1),
    ],
)
def test_times_and_steps_are_read(written, seconds, steps):
    budget = read_budget(written)
    assert (budget.seconds, budget.steps) == (seconds, steps)
    assert budget.amount == (seconds or steps)


@pytest.mark.parametrize(
    "written", ["", "10", "10 parsecs", "-1s", "0s", "0steps", "1.5steps", "1e400s", "nan s", "9" * 30 + "h"]
)
def test_what_is_no_budget_is_refused_in_one_sentence(written):
    with pytest.raises(ValueError, match=r"expected a .*number of steps") as refused:
        read_budget(written)
    assert repr(written) in str(refused.value)


def test_amounts_are_said_in_the_budgets_unit():
    assert read_budget("90s").said(12.34) == "12.3 s"
    assert read_budget("90steps").said(12) == "12 steps"
