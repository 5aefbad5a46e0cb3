"""Records -> tables: for every protocol the one that it asks for, and differences from zero-shot on the same images."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

from trainers.protocols.registry import EvalProtocol, get_protocol
from trainers.runs.records import BALANCED, ResultRecord
from trainers.tables.aggregate import BASELINE, balanced_cell, by_dataset, by_label, pooled_difference
from trainers.tables.formats import MISSING, Table
from trainers.tables.layouts import (
    common_tests,
    format_cell,
    table_by_domains,
    table_by_shots,
    table_by_tests,
    table_from_source,
    wide_table_from_source,
)
from trainers.tables.notes import title

PageLayout = Literal["terminal", "paper"]


def tables(
    records: Sequence[ResultRecord],
    datasets: Sequence[str] = (),
    more_notes: Sequence[str] = (),
    layout: PageLayout = "terminal",
) -> list[Table]:
    """All tables that the records give: one set for every protocol, suite, backbone and precision.

    Args:
        datasets: the data sets that should be there, in this order; by default those that are.
        more_notes: what else readers of the first table have to know.
        layout: "terminal" stays within 80 columns; "paper" has a column per data set where the papers have one.

    Raises:
        ValueError: if a record is of a protocol that is not known.
    """
    made: list[Table] = []
    for group in groups(records):
        wanted = [*datasets] or sorted({record.dataset for record in group})
        made += _tables_of(get_protocol(group[0].protocol), group, wanted, layout)
    if made and more_notes:
        made[0] = replace(made[0], notes=(*made[0].notes, *more_notes))
    return made


def _tables_of(
    protocol: EvalProtocol, group: Sequence[ResultRecord], datasets: Sequence[str], layout: PageLayout
) -> list[Table]:
    """The tables of records that share one."""
    if protocol.layout == "sources":
        from_source = table_from_source if layout == "terminal" else wide_table_from_source
        return [from_source(protocol, [r for r in group if r.dataset == source], source) for source in datasets]
    if protocol.layout == "domains":
        tests = common_tests(group)
        by_domains = table_by_domains(protocol, group, datasets)
        return [by_domains, *balanced_table(protocol, group, tests), *pooled_table(protocol, group, tests)]
    table = table_by_shots if protocol.layout == "shots" else table_by_tests
    tests = tuple(protocol.tests)
    more = (*balanced_table(protocol, group, tests), *pooled_table(protocol, group, tests))
    return [table(protocol, group, datasets), *more]


def groups(records: Iterable[ResultRecord]) -> list[list[ResultRecord]]:
    """Records that share a table: of one protocol, suite, backbone, weights and precision."""
    grouped: dict[tuple[str, ...], list[ResultRecord]] = {}
    for record in records:
        weights, precision = str(record.identity["weights"]), str(record.identity["precision"])
        key = (record.protocol, record.suite, record.backbone, weights, precision)
        grouped.setdefault(key, []).append(record)
    return list(grouped.values())


def balanced_table(protocol: EvalProtocol, records: Sequence[ResultRecord], tests: Sequence[str]) -> list[Table]:
    """Balanced accuracy, the mean over classes, where test images are uneven; none where every test is even."""
    uneven = sorted({r.dataset for r in records if any(BALANCED in r.score(test).metrics for test in tests)})
    rows: list[tuple[str, ...]] = []
    for label, own in by_label(records, tell_shots=False).items():
        for shots in sorted({record.shots for record in own}):
            here = by_dataset([record for record in own if record.shots == shots and record.dataset in uneven])
            cells = [balanced_cell(here, uneven, test) for test in tests]
            rows.append((label, str(shots), *map(format_cell, cells)))
    headers = ("method", "shots", *map(protocol.label, tests))
    note = (
        f"accuracy of each class, averaged over classes, in percent; mean of the {len(uneven)} data sets whose classes "
        f"have different numbers of test images: {', '.join(uneven)}"
    )
    heading = title("Balanced accuracy", records)
    return [Table(heading, headers, tuple(rows), (note,))] if uneven else []


def pooled_table(protocol: EvalProtocol, records: Sequence[ResultRecord], tests: Sequence[str]) -> list[Table]:
    """Differences from zero-shot on the same images, data sets of equal shots pooled; none without zero-shot."""
    baseline = [record for record in records if record.label == BASELINE]
    rows: list[tuple[str, ...]] = []
    for label, own in by_label([record for record in records if record.label != BASELINE], tell_shots=False).items():
        for shots in sorted({record.shots for record in own}):
            pooled = [pooled_difference([r for r in own if r.shots == shots], baseline, test) for test in tests]
            if any(difference is not None for difference in pooled):
                cells = [MISSING if d is None else f"{d.difference:+.2f} ± {d.standard_error:.2f}" for d in pooled]
                images = " + ".join(MISSING if d is None else str(d.images) for d in pooled)
                first = next(difference for difference in pooled if difference is not None)
                rows.append((label, str(shots), *cells, images, str(first.datasets), str(first.seeds)))
    headers = ("method", "shots", *map(protocol.label, tests), "test images", "data sets", "seeds")
    explanation = (
        "percentage points above zero-shot on the same test images, data sets of equal shots pooled; ± is one standard "
        "error over test images and seeds"
    )
    heading = title("Difference from zero-shot", records)
    return [Table(heading, headers, tuple(rows), (explanation,))] if rows and baseline else []
