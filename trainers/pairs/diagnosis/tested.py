"""A pair test before and after a training: every metric with its interval, and the items that changed."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import fmean

from adaptkit.contract.adapted_towers import AdaptedTowers
from datasets_fewshot.pair_tests.pair_tests import PairItem, PairTests, Subset
from trainers.evaluation.pair_tests.accuracy import TextChoice
from trainers.evaluation.pair_tests.comparison import Comparison, compared
from trainers.evaluation.pair_tests.shortcut import LengthRule, length_rule
from trainers.pairs.diagnosis.outcomes import METRICS, Outcomes, chance_levels, fitted_texts, outcomes_of
from trainers.pairs.judging import Looking

ALL = "all subsets"


@dataclass(frozen=True)
class Mean:
    """The mean over subsets of one kind, each counting alike, in percent."""

    metric: str
    subsets: int
    before: float
    after: float | None


@dataclass(frozen=True)
class Changed:
    """An item whose outcome of its subset's main metric changed."""

    subset: str
    item: PairItem


@dataclass(frozen=True)
class Tested:
    """A pair test by one model, or by two."""

    name: str
    comparisons: tuple[Comparison, ...]  # of every subset and metric, and of all subsets of a kind together
    means: tuple[Mean, ...]
    length_rules: dict[str, LengthRule]  # subset -> how often the longer text is true; none for image pairs
    cut: int  # texts that are longer than the context
    notes: tuple[str, ...]
    broken: tuple[Changed, ...] = field(repr=False)
    mended: tuple[Changed, ...] = field(repr=False)
    tests: PairTests = field(repr=False)


def judged_on(
    plain: AdaptedTowers, adapted: AdaptedTowers | None, tests: PairTests, looking: Looking, room: int | None = None
) -> Tested:
    """Judge a model, and an adapter of it where there is one, on a pair test.

    Args:
        room: tokens that a text may have beside what the adapter puts there; both read the same texts.
    """
    before = outcomes_of(plain, tests, looking, room)
    after = None if adapted is None else outcomes_of(adapted, tests, looking, room)
    return Tested(
        tests.name,
        tuple(_comparisons(tests, before, after)),
        tuple(_means(tests, before, after)),
        {
            subset.name: length_rule([TextChoice(item.positives, item.negatives) for item in subset.items])
            for subset in tests.subsets
            if subset.kind in ("texts", "two_texts")
        },
        sum(text != short for text, short in fitted_texts(plain, tests, room).items()),
        tests.notes,
        tuple(_changed(tests, before, after)),
        tuple(_changed(tests, after, before)),
        tests,
    )


def _comparisons(tests: PairTests, before: Outcomes, after: Outcomes | None) -> Iterator[Comparison]:
    for subset in tests.subsets:
        for metric, chance in chance_levels(subset).items():
            yield compared(
                tests.name,
                subset.name,
                metric,
                chance,
                before[subset.name][metric],
                None if after is None else after[subset.name][metric],
            )
    for subsets, metric in _together(tests):
        own = sum(len(subset.items) for subset in subsets)
        chance = sum(chance_levels(subset)[metric] * len(subset.items) for subset in subsets) / own
        yield compared(
            tests.name,
            ALL,
            metric,
            chance,
            [right for subset in subsets for right in before[subset.name][metric]],
            None if after is None else [right for subset in subsets for right in after[subset.name][metric]],
        )


def _means(tests: PairTests, before: Outcomes, after: Outcomes | None) -> Iterator[Mean]:
    for subsets, metric in _together(tests):

        def mean(outcomes: Outcomes, subsets: list[Subset] = subsets, metric: str = metric) -> float:
            return fmean(100 * fmean(map(float, outcomes[subset.name][metric])) for subset in subsets)

        yield Mean(metric, len(subsets), mean(before), None if after is None else mean(after))


def _together(tests: PairTests) -> Iterator[tuple[list[Subset], str]]:
    """The subsets of each kind that has several, with each of its metrics."""
    for kind, metrics in METRICS.items():
        subsets = [subset for subset in tests.subsets if subset.kind == kind]
        if len(subsets) > 1:
            yield from ((subsets, metric) for metric in metrics)


def _changed(tests: PairTests, right: Outcomes | None, wrong: Outcomes | None) -> Iterator[Changed]:
    """The items that are right in the one and wrong in the other, by the main metric of their subset."""
    if right is None or wrong is None:
        return
    for subset in tests.subsets:
        metric = next(iter(METRICS[subset.kind]))
        pairs = zip(subset.items, right[subset.name][metric], wrong[subset.name][metric], strict=True)
        yield from (Changed(subset.name, item) for item, one, other in pairs if one and not other)
