"""Intervals, McNemar's exact test and the rule of caption length."""

import pytest
import scipy.stats

from trainers.evaluation.pair_tests.accuracy import TextChoice
from trainers.evaluation.pair_tests.comparison import compared, mcnemar, share
from trainers.evaluation.pair_tests.shortcut import length_rule


@pytest.mark.parametrize(("broken", "mended"), [(0, 0), (1, 0), (3, 3), (2, 9), (0, 15), (40, 21), (600, 700)])
def test_mcnemars_test_is_the_binomial_test_of_the_items_that_changed(broken, mended):
    before = [True] * broken + [False] * mended + [True] * 5 + [False] * 4
    after = [False] * broken + [True] * mended + [True] * 5 + [False] * 4
    found = mcnemar(before, after)
    expected = scipy.stats.binomtest(broken, broken + mended).pvalue if broken + mended else 1.0
    assert (found.broken, found.mended) == (broken, mended)
    assert found.p_value == pytest.approx(expected)


def test_a_share_of_few_items_has_a_wide_interval():
    few, many = share([True] * 3 + [False] * 12), share([True] * 300 + [False] * 1200)
    assert few.percent == many.percent == 20
    assert few.high - few.low > 30 > 5 > many.high - many.low
    with pytest.raises(ValueError, match="no items"):
        share([])


def test_outcomes_of_different_items_are_refused():
    with pytest.raises(ValueError, match="2 outcomes before and 1 after"):
        compared("t", "s", "m", 50.0, [True, False], [True])


def test_a_set_in_which_true_texts_are_longer_is_biased():
    long = [TextChoice(("a cat on a mat",), ("a dog",))] * 7 + [TextChoice(("a dog",), ("a dog in a car",))] * 3
    rule = length_rule(long)
    assert (rule.words, rule.letters, rule.is_biased) == (70, 70, True)
    assert length_rule([TextChoice(("a cat", "one cat"), ("a dog", "a red dog"))]).words == 25
    assert not length_rule([TextChoice(("a cat",), ("a dog",))]).is_biased
