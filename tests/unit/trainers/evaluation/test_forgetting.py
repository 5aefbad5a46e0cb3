"""What a matrix of scores says: by hand."""

import pytest

from trainers.evaluation.forgetting import average, forgetting, forward_transfer, learning

MATRIX = [[50.0, 20.0, 10.0], [45.0, 60.0, 15.0], [30.0, 55.0, 70.0]]


def test_the_measures_are_their_formulas():
    assert average(MATRIX) == pytest.approx((30 + 55 + 70) / 3)
    assert forgetting(MATRIX) == pytest.approx(((50 - 30) + (60 - 55)) / 2)
    assert learning(MATRIX) == pytest.approx((50 + 60 + 70) / 3)
    assert forward_transfer(MATRIX, [40.0, 18.0, 16.0]) == pytest.approx(((20 - 18) + (15 - 16)) / 2)


def test_a_domain_that_later_phases_improve_is_not_forgotten():
    assert forgetting([[50.0, 0.0], [60.0, 0.0]]) == 0


@pytest.mark.parametrize("matrix", [[], [[1.0, 2.0]], [[1.0], [2.0]]])
def test_other_shapes_are_refused(matrix):
    with pytest.raises(ValueError, match="a row for each"):
        average(matrix)


def test_one_domain_has_nothing_to_forget():
    with pytest.raises(ValueError, match="nothing can be forgotten"):
        forgetting([[1.0]])
    with pytest.raises(ValueError, match="1 domains"):
        forward_transfer([[1.0]], [1.0])
