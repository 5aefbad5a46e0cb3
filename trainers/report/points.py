"""The points of the figures, one per method, place and measure; the page and the plots draw the same ones."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from trainers.evaluation.scoring import ConfidenceBin
from trainers.protocols.registry import get_protocol
from trainers.report.publications import AVERAGE
from trainers.runs.records import ResultRecord
from trainers.tables.aggregate import Cell, average_cell, by_dataset, by_label, harmonic_cell, metric_cell
from trainers.tables.layouts import test_names
from trainers.tables.tables import groups


@dataclass(frozen=True)
class Point:
    """One number of one method."""

    label: str
    # None if every data set has its own number of shots, or shots tell nothing apart.
    shots: int | None
    place: str  # A data set, a test (where tests bear names of targets) or "average".
    measure: str  # A test that every data set has, H, or the main metric where tests are places.
    metric: str  # What the number is of, such as accuracy.
    mean: float  # Mean in percent.
    std: float | None  # Population deviation over seeds; None for H.
    seeds: tuple[int, ...]
    seconds: float  # Mean seconds of a run.
    parameters: int  # Learnt parameters, the most of any run.
    run_ids: tuple[str, ...]
    bins: tuple[ConfidenceBin, ...]  # Bins of all its test images together; none for H and for old records.


def figure_groups(records: Sequence[ResultRecord]) -> list[list[ResultRecord]]:
    """Records that share figures: those in one table, and those with one source where every source has a table."""
    made: list[list[ResultRecord]] = []
    for group in groups(records):
        if get_protocol(group[0].protocol).layout == "sources":
            made += by_dataset(group).values()
        else:
            made.append(group)
    return made


def points(group: Sequence[ResultRecord]) -> list[Point]:
    """All numbers of a group, averages first; missing numbers are left out."""
    protocol = get_protocol(group[0].protocol)
    has_curves = protocol.layout == "shots"
    datasets = sorted({record.dataset for record in group})
    made: list[Point] = []
    for label, own in by_label(group, tell_shots=not has_curves).items():
        for shots in sorted({record.shots for record in own}) if has_curves else [None]:
            here = [record for record in own if shots in (None, record.shots)]
            made += _points_of(_blank(label, shots, protocol.metric), here, datasets)
    return made


def _blank(label: str, shots: int | None, metric: str) -> Point:
    """A point with the fields that all points of a method share; the caller fills in the rest."""
    return Point(label, shots, AVERAGE, "", metric, 0.0, None, (), 0.0, 0, (), ())


def _points_of(blank: Point, own: Sequence[ResultRecord], datasets: Sequence[str]) -> Iterator[Point]:
    protocol = get_protocol(own[0].protocol)
    per_dataset = by_dataset(own)
    if protocol.tests:
        for place in (AVERAGE, *datasets):
            here = own if place == AVERAGE else per_dataset.get(place, [])
            cells: dict[str, Cell | None] = {}
            for measure in protocol.tests:
                if place == AVERAGE:
                    cells[measure] = average_cell(per_dataset, datasets, measure)
                else:
                    cells[measure] = metric_cell(here, measure)
                yield from _point(blank, place, measure, cells[measure], here, (measure,))
            first, second = (cells[test] for test in protocol.harmonic) if protocol.harmonic else (None, None)
            h = harmonic_cell(first, second)
            if h is not None and first is not None:
                yield from _point(blank, place, "H", Cell(h, 0.0, first.seeds), here, ())
        return
    tests = test_names(own)
    targets = [test for test in tests if test not in datasets] or tests
    for place, names in ((AVERAGE, targets), *((test, [test]) for test in tests)):
        here = [record for record in own if all(any(s.name == name for s in record.scores) for name in names)]
        learnt_from = sorted({record.dataset for record in here})
        cell = average_cell(by_dataset(here), learnt_from, *names)
        yield from _point(blank, place, protocol.metric, cell, here, names)


def _point(
    blank: Point, place: str, measure: str, cell: Cell | None, here: Sequence[ResultRecord], tests: Sequence[str]
) -> Iterator[Point]:
    if cell is None:
        return
    yield replace(
        blank,
        place=place,
        measure=measure,
        mean=cell.mean,
        std=cell.std if tests else None,
        seeds=cell.seeds,
        seconds=fmean(sum(record.seconds.values()) for record in here),
        parameters=max(record.trainable_parameters for record in here),
        run_ids=tuple(record.run_id for record in here),
        bins=pooled_bins([record.score(test).bins for record in here for test in tests]),
    )


def pooled_bins(many: Sequence[Sequence[ConfidenceBin]]) -> tuple[ConfidenceBin, ...]:
    """The bins of all tests together, or none if a test has none."""
    if not many or not all(many):
        return ()
    pooled = []
    for bins in zip(*many, strict=True):
        images = sum(one.images for one in bins)
        confidence = sum(one.confidence * one.images for one in bins) / images if images else 0.0
        pooled.append(ConfidenceBin(images, sum(one.correct for one in bins), confidence))
    return tuple(pooled)
