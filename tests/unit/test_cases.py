"""Cases that share a test are all tried, and those that fail are named."""

import pytest

from tests.helpers.cases import for_every

NUMBERS = [pytest.param(number, id=f"number {number}") for number in (1, 2, 3)]


def test_every_case_is_tried_and_those_that_fail_are_named():
    tried = []

    @for_every(("number",), NUMBERS)
    def check(number):
        tried.append(number)
        assert number == 2
        with pytest.raises(ValueError, match="2"):
            int("two")

    with pytest.raises(AssertionError, match="3 of 3 cases fail") as failed:
        check()
    assert tried == [1, 2, 3]
    assert all(f"number {number}: Traceback" in str(failed.value) for number in tried)


@pytest.mark.parametrize("factor", [2, 3])
@for_every(("number",), NUMBERS)
def test_fixtures_and_parameters_are_given_to_every_case(number, factor, tmp_path):
    (tmp_path / str(number * factor)).mkdir()
    assert number * factor in (2, 3, 4, 6, 9)
