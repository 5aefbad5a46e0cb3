"""The tool that runs tests as other processors would: what it reads off a session, and what it makes of that."""

from collections import Counter

import pytest
import torch

from tests.helpers.closeness import Closeness, share_of_tolerance
from tests.other_processors import Outcome, Setting, list_near, run, table


@pytest.mark.parametrize(
    ("ours", "theirs", "bounds", "share"),
    [
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.5]), (0.0, 2.0), 0.25),
        (torch.tensor([3.0]), torch.tensor([2.0]), (0.5, 1.0), 0.5),
        ([torch.tensor([1.0]), torch.tensor([2.0])], [torch.tensor([1.0]), torch.tensor([3.0])], (0.0, 4.0), 0.25),
        ({"a": torch.tensor([1.0])}, {"a": torch.tensor([2.0])}, (0.0, 2.0), 0.5),
        (torch.tensor([0.0]), torch.tensor([5e-6]), (None, None), 0.5),
        (torch.tensor([1, 2]), torch.tensor([1, 3]), (0.0, 2.0), 0.0),
    ],
)
def test_a_share_is_the_largest_difference_over_what_is_allowed(ours, theirs, bounds, share):
    assert share_of_tolerance(ours, theirs, *bounds) == pytest.approx(share, rel=1e-4)


def test_the_largest_share_of_a_test_is_kept_and_the_comparison_still_fails(tmp_path):
    closeness = Closeness(tmp_path / "found.json")
    closeness.now = "a test"
    compare = closeness.watched(torch.testing.assert_close)
    compare(torch.tensor(1.0), torch.tensor(1.5), rtol=0, atol=1)
    compare(torch.tensor(1.0), torch.tensor(1.1), rtol=0, atol=1)
    assert closeness.shares == {"a test": 0.5}
    with pytest.raises(AssertionError, match="not close"):
        compare(torch.tensor(1.0), torch.tensor(3.0), rtol=0, atol=1)


def test_a_setting_that_changes_nothing_here_is_skipped_and_says_why():
    setting = Setting({"ATEN_CPU_CAPABILITY": "avx2"}, ("AVX512",))
    outcome = run("no python at all", "2.4", ["AVX2"], setting, ())
    assert outcome.line() == "skipped: without AVX512 it changes nothing"
    assert outcome.is_good


def test_only_tests_whose_nearness_moves_are_told_of():
    one = Outcome("2.4", "one", counts=Counter(passed=3), shares={"exact": 0.95, "moves": 0.2, "far": 0.1})
    two = Outcome("2.4", "two", counts=Counter(passed=3), shares={"exact": 0.95, "moves": 0.7, "far": 0.3})
    assert list_near([one, two]) == "0.70 of its tolerance: moves (torch 2.4, two)"
    assert table([one, two]).splitlines()[-1] == "| 2.4 | two | 3 | 0 | 0.70 |"


def test_a_session_in_which_no_test_ran_is_not_good():
    assert not Outcome("2.4", "one").is_good
    assert not Outcome("2.4", "one", counts=Counter(passed=1), failed=("a test",)).is_good
