"""How many tokens each block removes."""

import pytest

from adaptkit.wrappers.token_merging.schedule import linear_schedule, listed_schedule, tokens_per_block


@pytest.mark.parametrize(
    ("inflect", "expected"),
    [(0.0, (4, 4, 4, 4, 4)), (-1.0, (8, 6, 4, 2, 0)), (1.0, (0, 2, 4, 6, 8)), (0.5, (2, 3, 4, 5, 6))],
)
def test_a_schedule_is_a_line_around_r(inflect, expected):
    assert linear_schedule(4, inflect, 5) == expected


def test_a_tower_of_one_block_takes_the_start_of_the_line():
    assert linear_schedule(4, -1.0, 1) == (8,)


def test_a_list_is_filled_up_and_a_longer_one_refused():
    assert listed_schedule((3, 2), 4) == (3, 2, 0, 0)
    with pytest.raises(ValueError, match=r"r_per_block=\(1, 1, 1\) has 3 entries, and the image tower has 2 blocks"):
        listed_schedule((1, 1, 1), 2)


def test_no_block_removes_more_than_half_of_its_patches():
    assert tokens_per_block((13,) * 12, tokens=197, protected=1)[-1] == 41
    assert tokens_per_block((100,) * 3, tokens=17, protected=1) == (9, 5, 3)
