"""Item outcomes of one model, or of two models on the same items: intervals, and McNemar's exact test."""

from collections.abc import Sequence
from dataclasses import dataclass

from trainers.evaluation.scoring import wilson_interval


@dataclass(frozen=True)
class Share:
    """Right items of all."""

    right: int
    items: int
    percent: float
    low: float  # of Wilson's 95 % interval, in percent
    high: float


@dataclass(frozen=True)
class McNemar:
    """What changed from one model to another, item by item."""

    broken: int  # right before, wrong after
    mended: int  # wrong before, right after
    p_value: float  # of the exact two-sided test that an item that changed is as likely mended as broken


def share(outcomes: Sequence[bool]) -> Share:
    """Count right items.

    Raises:
        ValueError: if there are none.
    """
    if not len(outcomes):
        raise ValueError("there are no items; a share of none says nothing")
    right, items = sum(map(bool, outcomes)), len(outcomes)
    return Share(right, items, 100 * right / items, *wilson_interval(right, items))


def mcnemar(before: Sequence[bool], after: Sequence[bool]) -> McNemar:
    """McNemar's exact test on the outcomes of two models on the same items.

    Items on which both are right or both wrong say nothing of the difference. Under the null hypothesis the broken ones
    among the n that changed are binomial (n, 1/2), so
        p = min(1, 2 P(X <= min(broken, mended))).

    Raises:
        ValueError: if there are not as many outcomes of both.

    Example:
        ```python
        from trainers.evaluation.pair_tests.comparison import mcnemar

        changed = mcnemar([True] * 6 + [False], [False] * 6 + [False])
        assert (changed.broken, changed.p_value) == (6, 0.03125)
        ```
    """
    if len(before) != len(after):
        raise ValueError(f"{len(before)} outcomes before and {len(after)} after; give both of the same items")
    broken = sum(bool(one) and not two for one, two in zip(before, after, strict=True))
    mended = sum(bool(two) and not one for one, two in zip(before, after, strict=True))
    changed, term, tail = broken + mended, 1, 1  # binomial coefficients of whole numbers, which are exact
    for count in range(min(broken, mended)):
        term = term * (changed - count) // (count + 1)
        tail += term
    return McNemar(broken, mended, min(1.0, float(2 * tail / 2**changed)))


@dataclass(frozen=True)
class Comparison:
    """One metric of one subset before a training, and after it where there is an after."""

    tests: str
    subset: str
    metric: str
    chance: float  # percent
    before: Share
    after: Share | None = None
    changes: McNemar | None = None


def compared(
    tests: str, subset: str, metric: str, chance: float, before: Sequence[bool], after: Sequence[bool] | None = None
) -> Comparison:
    """Compare the outcomes of one metric of one subset."""
    if after is None:
        return Comparison(tests, subset, metric, chance, share(before))
    return Comparison(tests, subset, metric, chance, share(before), share(after), mcnemar(before, after))
