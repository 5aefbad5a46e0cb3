"""Records -> numbers: mean and spread over seeds, averages over data sets, pooled differences with standard errors.

The papers' conventions: means of unrounded values, population std over seeds, and the harmonic mean of two means, never
the mean of harmonic means. A mean over data sets or seeds that are not all there is not a number.
"""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev, stdev

import numpy as np

from trainers.evaluation.scoring import harmonic_mean
from trainers.runs.records import BALANCED, ResultRecord, run_id

BASELINE = "zero_shot"


@dataclass(frozen=True)
class Cell:
    """One number of a table."""

    mean: float
    std: float  # population, over the seeds; 0 for a single one
    seeds: tuple[int, ...]  # (0,) where one deterministic run stands for every seed


@dataclass(frozen=True)
class PooledDifference:
    """How much better than a baseline on the same images, all data sets thrown together."""

    difference: float  # percentage points
    standard_error: float  # percentage points
    images: int
    datasets: int
    seeds: int

    @property
    def standard_errors(self) -> float:
        """The difference in standard errors."""
        return (
            self.difference / self.standard_error if self.standard_error else math.copysign(math.inf, self.difference)
        )


def settings_hash(record: ResultRecord) -> str:
    """What sets apart two runs of one method on one data set with equal shots, other than the seed."""
    changing = ("seed", "train", "val", "dataset", "tests", "templates", "shots")
    return run_id({key: value for key, value in record.identity.items() if key not in changing})[:6]


def by_label(records: Sequence[ResultRecord], tell_shots: bool = True) -> dict[str, list[ResultRecord]]:
    """Records by the name of their row: method and wrappers, with shots or a hash of settings where they tell.

    Data sets of a suite may have shots and settings of their own: one choice per data set makes one row. `tell_shots`
    is off where shots have columns of their own.
    """
    labelled: dict[str, list[ResultRecord]] = {}
    by_method: dict[str, list[ResultRecord]] = {}
    for record in records:
        by_method.setdefault(record.label, []).append(record)
    for method in sorted(by_method, key=lambda method: method != BASELINE):  # the baseline first
        own = by_method[method]
        many_shots = tell_shots and _several((record.dataset, record.shots) for record in own)
        many_settings = _several(((record.dataset, record.shots), settings_hash(record)) for record in own)
        for record in own:
            label = method + (f", {spell_shots(record.shots)}" if many_shots else "")
            label += f" #{settings_hash(record)}" if many_settings else ""
            label += f" ({', '.join(record.stamps)})" if record.stamps else ""
            labelled.setdefault(label, []).append(record)
    return labelled


def spell_shots(shots: int) -> str:
    """ "1 shot", "16 shots"."""
    return f"{shots} shot" + ("s" if shots != 1 else "")


def by_dataset(records: Sequence[ResultRecord]) -> dict[str, list[ResultRecord]]:
    """Records by what they learnt from."""
    grouped: dict[str, list[ResultRecord]] = {}
    for record in records:
        grouped.setdefault(record.dataset, []).append(record)
    return grouped


def _several(choices: Iterable[tuple[Hashable, Hashable]]) -> bool:
    """Whether one place has more than one value."""
    seen: dict[Hashable, Hashable] = {}
    return any(seen.setdefault(place, value) != value for place, value in choices)


def metric_cell(records: Iterable[ResultRecord], *tests: str) -> Cell | None:
    """The main metric over the seeds of one method on one data set, the mean of the tests; None without records."""
    by_seed = {record.seed: _mean(record, tests) for record in records}
    return _cell(by_seed) if by_seed else None


def _cell(by_seed: Mapping[int, float]) -> Cell:
    values = list(by_seed.values())
    return Cell(fmean(values), pstdev(values), tuple(sorted(by_seed)))


def _mean(record: ResultRecord, tests: Sequence[str]) -> float:
    return fmean(record.value(test) for test in tests)


def average_cell(
    per_dataset: Mapping[str, Sequence[ResultRecord]], datasets: Sequence[str], *tests: str
) -> Cell | None:
    """Mean over all the data sets and tests, spread over seeds; None unless every data set has the same seeds."""
    return _over_datasets([{r.seed: _mean(r, tests) for r in per_dataset.get(name, ())} for name in datasets])


def _over_datasets(values: Sequence[Mapping[int, float]]) -> Cell | None:
    """The mean over data sets of numbers by seed; None unless every data set has the same seeds."""
    seeds = set(values[0]) if values else set()
    if not seeds or any(set(own) != seeds for own in values):
        return None
    return _cell({seed: fmean(own[seed] for own in values) for seed in seeds})


def balanced_cell(per_dataset: Mapping[str, Sequence[ResultRecord]], datasets: Sequence[str], test: str) -> Cell | None:
    """Balanced accuracy as `average_cell` has accuracy; where a test's classes are even, both are the same."""
    values = [
        {r.seed: r.score(test).metrics.get(BALANCED, r.score(test).accuracy) for r in per_dataset.get(name, ())}
        for name in datasets
    ]
    return _over_datasets(values)


def harmonic_cell(base: Cell | None, new: Cell | None) -> float | None:
    """The harmonic mean of two means over seeds."""
    return None if base is None or new is None else harmonic_mean(base.mean, new.mean)


def pooled_difference(
    ours: Sequence[ResultRecord], baseline: Sequence[ResultRecord], test: str
) -> PooledDifference | None:
    """Our accuracy less the baseline's on the same test images, over data sets and seeds.

    Each image counts once, with its hits averaged over seeds. The standard error joins two sources: which images were
    tested, estimated from the paired differences per image, and which shots and starting points the seeds gave,
    estimated from the differences per seed.

    Returns:
        None if no data set is in both, our data sets have different seeds, or nothing was classified.
    """
    per_seed: dict[int, list[np.ndarray]] = {}  # seed -> difference per image, data set by data set
    datasets = [name for name in dict.fromkeys(r.dataset for r in ours) if any(b.dataset == name for b in baseline)]
    for name in datasets:
        reference = [record.score(test) for record in baseline if record.dataset == name]
        if any(score.hits is None for score in reference):
            return None
        expected = np.mean([score.right() for score in reference], axis=0)
        for record in ours:
            if record.dataset == name:
                score = record.score(test)
                if score.hits is None or score.items_hash != reference[0].items_hash:
                    return None
                per_seed.setdefault(record.seed, []).append(score.right() - expected)
    if not datasets or any(len(parts) != len(datasets) for parts in per_seed.values()):
        return None
    differences = np.stack([np.concatenate(parts) for parts in per_seed.values()])  # (seeds, images)
    n_seeds, images = differences.shape
    by_image = differences.mean(axis=0)
    variance = by_image.var(ddof=1) / images if images > 1 else math.inf
    if n_seeds > 1:
        variance += stdev(differences.mean(axis=1).tolist()) ** 2 / n_seeds
    return PooledDifference(100 * float(by_image.mean()), 100 * math.sqrt(variance), images, len(datasets), n_seeds)
