"""The layouts that a protocol chooses from: records of one protocol -> a table.

What is missing shows as a dash, never as a number; the best of its column is marked.
"""

from collections.abc import Sequence
from statistics import fmean

from trainers.protocols.registry import EvalProtocol
from trainers.runs.records import ResultRecord
from trainers.tables.aggregate import (
    Cell,
    average_cell,
    by_dataset,
    by_label,
    harmonic_cell,
    metric_cell,
    spell_shots,
)
from trainers.tables.formats import MISSING, Table, with_best
from trainers.tables.notes import missing, notes, title

AVERAGE = "average"


def table_by_tests(protocol: EvalProtocol, records: Sequence[ResultRecord], datasets: Sequence[str]) -> Table:
    """Every test, and the harmonic mean where there is one, of every method on every data set, and on the average."""
    labelled = by_label(records)
    tests = tuple(protocol.tests)
    h = ("H",) if protocol.harmonic else ()
    headers = ("data set", "method", "shots", *protocol.tests.values(), *h, "test images", "seeds", "s/run")
    rows: list[tuple[str, ...]] = []
    for dataset in datasets:
        for label, own in labelled.items():
            here = [record for record in own if record.dataset == dataset]
            cells = {test: metric_cell(here, test) for test in tests}
            images = " + ".join(map(str, _images(here, tests))) if here else MISSING
            shots = str(here[0].shots) if here else MISSING
            first = next(iter(cells.values()))
            values = (*map(format_cell, cells.values()), *_harmonic(protocol, cells))
            rows.append((dataset, label, shots, *values, images, _seeds(first), _seconds(here)))
    for label, own in labelled.items():
        per_dataset = by_dataset(own)
        cells = {test: average_cell(per_dataset, datasets, test) for test in tests}
        counts = [_images(per_dataset[name], tests) for name in datasets if name in per_dataset]
        images = " + ".join(str(sum(each)) for each in zip(*counts, strict=True))
        first = next(iter(cells.values()))
        values = (*map(format_cell, cells.values()), *_harmonic(protocol, cells))
        total = MISSING if first is None else images
        rows.append((_average_of(datasets), label, MISSING, *values, total, _seeds(first), _seconds(own)))
    facts = (*missing(labelled, datasets), *notes(protocol, records, headers))
    made = Table(title(protocol.title, records), headers, tuple(rows), facts, _sections(labelled, rows))
    return with_best(made, range(3, 3 + len(tests) + len(h)))


def table_by_shots(protocol: EvalProtocol, records: Sequence[ResultRecord], datasets: Sequence[str]) -> Table:
    """The one test of every method, data set and number of shots, and on the average."""
    (test,) = protocol.tests
    shots = sorted({record.shots for record in records})
    labelled = by_label(records, tell_shots=False)
    rows: list[tuple[str, ...]] = []
    for dataset in datasets:
        for label, own in labelled.items():
            here = [record for record in own if record.dataset == dataset]
            cells = [format_cell(metric_cell([r for r in here if r.shots == k], test)) for k in shots]
            images = str(_images(here, (test,))[0]) if here else MISSING
            rows.append((dataset, label, *cells, images, _seconds(here)))
    for label, own in labelled.items():
        averages = [average_cell(by_dataset([r for r in own if r.shots == k]), datasets, test) for k in shots]
        cells = [format_cell(average) for average in averages]
        images = str(sum(_images(here, (test,))[0] for here in by_dataset(own).values()))
        total = images if any(average is not None for average in averages) else MISSING
        rows.append((_average_of(datasets), label, *cells, total, _seconds(own)))
    headers = ("data set", "method", *map(spell_shots, shots), "test images", "s/run")
    facts = (*missing(labelled, datasets), *notes(protocol, records, headers))
    made = Table(title(protocol.title, records), headers, tuple(rows), facts, _sections(labelled, rows))
    return with_best(made, range(2, 2 + len(shots)))


def table_from_source(protocol: EvalProtocol, records: Sequence[ResultRecord], source: str) -> Table:
    """The source's own test, that of every other data set, and the average of the others: a row per method and test."""
    labelled = by_label(records)
    rows: list[tuple[str, ...]] = []
    for test in test_names(records):
        for label, own in labelled.items():
            cell, images = metric_cell(own, test), str(_images(own, (test,))[0])
            rows.append((test, label, str(own[0].shots), format_cell(cell), images, _seeds(cell), _seconds(own)))
    targets = [test for test in test_names(records) if test != source]
    for label, own in labelled.items():
        cell, images = metric_cell(own, *targets), str(sum(_images(own, targets)))
        average = _average_of(targets)
        rows.append((average, label, str(own[0].shots), format_cell(cell), images, _seeds(cell), _seconds(own)))
    headers = ("tested on", "method", "shots", protocol.metric, "test images", "seeds", "s/run")
    facts = (_learnt_on(source), *notes(protocol, records, headers))
    heading = title(f"{protocol.title} from {source}", records)
    return with_best(Table(heading, headers, tuple(rows), facts, _sections(labelled, rows)), (3,))


def wide_table_from_source(protocol: EvalProtocol, records: Sequence[ResultRecord], source: str) -> Table:
    """The same as the papers print it: a row per method, a column per data set, the average of the targets last."""
    targets = [test for test in test_names(records) if test != source]
    rows = []
    for label, own in by_label(records).items():
        cells = [format_cell(metric_cell(own, *tests)) for tests in ((source,), *zip(targets), targets)]
        rows.append((label, str(own[0].shots), *cells))
    headers = ("method", "shots", f"{source} (source)", *targets, _average_of(targets))
    facts = (_learnt_on(source), *notes(protocol, records, headers))
    made = Table(title(f"{protocol.title} from {source}", records), headers, tuple(rows), facts)
    return with_best(made, range(2, len(headers)))


def _learnt_on(source: str) -> str:
    return f"learnt on {source}; the average is of the other data sets"


def table_by_domains(protocol: EvalProtocol, records: Sequence[ResultRecord], datasets: Sequence[str]) -> Table:
    """Every domain, and the average of those that were not learnt."""
    tests = test_names(records)
    domains = [test for test in tests if test not in datasets]
    labelled = by_label(records)
    rows: list[tuple[str, ...]] = []
    for dataset in datasets:
        for label, own in labelled.items():
            here = [record for record in own if record.dataset == dataset]
            cells = [format_cell(metric_cell(here, *names)) for names in (*zip(tests), domains)]
            rows.append((dataset, label, str(here[0].shots) if here else MISSING, *cells))
    for label, own in labelled.items() if len(datasets) > 1 else ():
        averages = [average_cell(by_dataset(own), datasets, *names) for names in (*zip(tests), domains)]
        cells = [format_cell(average) for average in averages]
        rows.append((_average_of(datasets), label, MISSING, *cells))
    headers = ("data set", "method", "shots", *tests, f"mean of {len(domains)}")
    one_of_each = {record.dataset: record for record in records}.values()
    counts = (f"{test} {sum(_images([r], (test,))[0] for r in one_of_each)}" for test in common_tests(records))
    facts = (f"test images in all: {', '.join(counts)}", *missing(labelled, datasets))
    facts = (*facts, *notes(protocol, records, headers))
    made = Table(title(protocol.title, records), headers, tuple(rows), facts, _sections(labelled, rows))
    return with_best(made, range(3, len(headers)))


def test_names(records: Sequence[ResultRecord]) -> list[str]:
    """Names of all tests, in order of appearance."""
    return list(dict.fromkeys(score.name for record in records for score in record.scores))


def common_tests(records: Sequence[ResultRecord]) -> tuple[str, ...]:
    """The tests that every record has."""
    return tuple(test for test in test_names(records) if all(any(s.name == test for s in r.scores) for r in records))


def _harmonic(protocol: EvalProtocol, cells: dict[str, Cell | None]) -> tuple[str, ...]:
    """H as it is printed; no column where the protocol has none."""
    if protocol.harmonic is None:
        return ()
    h = harmonic_cell(*(cells[test] for test in protocol.harmonic))
    return (MISSING if h is None else f"{h:.2f}",)


def _average_of(places: Sequence[str]) -> str:
    return f"{AVERAGE} of {len(places)}"


def _sections(labelled: dict[str, list[ResultRecord]], rows: Sequence[tuple[str, ...]]) -> tuple[int, ...]:
    """A line after the methods of every place."""
    return tuple(range(len(labelled), len(rows), len(labelled))) if labelled else ()


def _images(records: Sequence[ResultRecord], tests: Sequence[str]) -> list[int]:
    return [records[0].score(test).total for test in tests]


def format_cell(cell: Cell | None) -> str:
    """ "71.66 ± 0.52", without a spread where one run stands for every seed."""
    if cell is None:
        return MISSING
    return f"{cell.mean:.2f}" + (f" ± {cell.std:.2f}" if len(cell.seeds) > 1 else "")


def _seeds(cell: Cell | None) -> str:
    if cell is None:
        return MISSING
    return "any" if cell.seeds == (0,) else ",".join(str(seed) for seed in cell.seeds)


def _seconds(records: Sequence[ResultRecord]) -> str:
    return f"{fmean(sum(record.seconds.values()) for record in records):.1f}" if records else MISSING
