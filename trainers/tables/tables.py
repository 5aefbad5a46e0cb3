"""Records -> tables. What is missing shows as a dash, never as a number; the best of its column is marked."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Literal

from trainers.runs.records import ResultRecord
from trainers.tables.aggregate import (
    BASELINE,
    Cell,
    accuracy_cell,
    average_cell,
    by_dataset,
    by_label,
    harmonic_cell,
    pooled_difference,
    spell_shots,
)
from trainers.tables.formats import MISSING, Table, with_best

AVERAGE = "average"


def tables(
    records: Sequence[ResultRecord],
    datasets: Sequence[str] = (),
    more_notes: Sequence[str] = (),
    layout: Literal["terminal", "paper"] = "terminal",
) -> list[Table]:
    """All tables that the records give: one set for every protocol, suite, backbone and precision.

    Args:
        datasets: the data sets that should be there, in this order; by default those that are.
        more_notes: what else readers of the first table have to know.
        layout: "terminal" stays within 80 columns; "paper" has a column per data set where the papers have one.
    """
    made: list[Table] = []
    for group in groups(records):
        protocol = group[0].protocol
        wanted = [*datasets] or sorted({record.dataset for record in group})
        if protocol == "base_to_novel":
            made += [base_to_novel_table(group, wanted), *pooled_table(group, ("base", "new"))]
        elif protocol == "cross_dataset":
            table = cross_dataset_table if layout == "terminal" else cross_dataset_paper_table
            made += [table([r for r in group if r.dataset == source], source) for source in wanted]
        elif protocol == "domain_generalization":
            made += [domains_table(group, wanted), *pooled_table(group, _common_tests(group))]
        else:
            made += [few_shot_table(group, wanted), *pooled_table(group, ("all",))]
    if made and more_notes:
        made[0] = replace(made[0], notes=(*made[0].notes, *more_notes))
    return made


def groups(records: Iterable[ResultRecord]) -> list[list[ResultRecord]]:
    """Records that share a table: of one protocol, suite, backbone, weights and precision."""
    grouped: dict[tuple[str, ...], list[ResultRecord]] = {}
    for record in records:
        weights, precision = str(record.identity["weights"]), str(record.identity["precision"])
        key = (record.protocol, record.suite, record.backbone, weights, precision)
        grouped.setdefault(key, []).append(record)
    return list(grouped.values())


def missing(labelled: Mapping[str, Sequence[ResultRecord]], datasets: Sequence[str]) -> tuple[str, ...]:
    """A note of what a full table would have: methods that lack a data set, or a seed that others have."""
    gaps = []
    for label, own in labelled.items():
        seeds = {record.seed for record in own}
        for dataset in datasets:
            here = {record.seed for record in own if record.dataset == dataset}
            if not here:
                gaps.append(f"{label} on {dataset}")
            elif here < seeds:
                gaps.append(f"{label} on {dataset}, seed {', '.join(map(str, sorted(seeds - here)))}")
    return (f"missing: {'; '.join(gaps)}",) if gaps else ()


def base_to_novel_table(records: Sequence[ResultRecord], datasets: Sequence[str]) -> Table:
    """Base, novel and harmonic mean of every method on every data set, and on the average."""
    rows: list[tuple[str, ...]] = []
    labelled = by_label(records)
    for dataset in datasets:
        for label, own in labelled.items():
            here = [record for record in own if record.dataset == dataset]
            rows.append((dataset, label, *_base_to_novel_cells(here)))
    for label, own in labelled.items():
        per_dataset = by_dataset(own)
        base, new = (average_cell(per_dataset, datasets, test) for test in ("base", "new"))
        images = [_images(per_dataset[name], ("base", "new")) for name in datasets if name in per_dataset]
        total = " + ".join(str(sum(counts)) for counts in zip(*images, strict=True))
        rows.append(
            (
                f"{AVERAGE} of {len(datasets)}",
                label,
                MISSING,
                format_cell(base),
                format_cell(new),
                _number(harmonic_cell(base, new)),
                total if base is not None else MISSING,
                _seeds(base),
                _seconds(own),
            )
        )
    headers = ("data set", "method", "shots", "base", "novel", "H", "test images", "seeds", "s/run")
    sections = tuple(range(len(labelled), len(rows), len(labelled)))
    facts = (*missing(labelled, datasets), *notes(records, headers))
    return with_best(Table(_title("Base to novel", records), headers, tuple(rows), facts, sections), (3, 4, 5))


def _base_to_novel_cells(here: Sequence[ResultRecord]) -> tuple[str, ...]:
    if not here:
        return (MISSING,) * 7
    base, new = accuracy_cell(here, "base"), accuracy_cell(here, "new")
    images = " + ".join(str(count) for count in _images(here, ("base", "new")))
    shots = str(here[0].shots)
    h = _number(harmonic_cell(base, new))
    return (shots, format_cell(base), format_cell(new), h, images, _seeds(base), _seconds(here))


def few_shot_table(records: Sequence[ResultRecord], datasets: Sequence[str]) -> Table:
    """Accuracy over all classes of every method, data set and number of shots, and on the average."""
    shots = sorted({record.shots for record in records})
    labelled = by_label(records, tell_shots=False)
    rows: list[tuple[str, ...]] = []
    for dataset in datasets:
        for label, own in labelled.items():
            here = [record for record in own if record.dataset == dataset]
            cells = [format_cell(accuracy_cell([r for r in here if r.shots == k], "all")) for k in shots]
            images = str(_images(here, ("all",))[0]) if here else MISSING
            rows.append((dataset, label, *cells, images, _seconds(here)))
    for label, own in labelled.items():
        averages = [average_cell(by_dataset([r for r in own if r.shots == k]), datasets, "all") for k in shots]
        cells = [format_cell(average) for average in averages]
        images = str(sum(_images(here, ("all",))[0] for here in by_dataset(own).values()))
        total = images if any(average is not None for average in averages) else MISSING
        rows.append((f"{AVERAGE} of {len(datasets)}", label, *cells, total, _seconds(own)))
    headers = ("data set", "method", *map(spell_shots, shots), "test images", "s/run")
    sections = tuple(range(len(labelled), len(rows), len(labelled)))
    facts = (*missing(labelled, datasets), *notes(records, headers))
    made = Table(_title("Few shot", records), headers, tuple(rows), facts, sections)
    return with_best(made, range(2, 2 + len(shots)))


def cross_dataset_table(records: Sequence[ResultRecord], source: str) -> Table:
    """Accuracy on the source's test images, on those of every other data set, and the average of the others."""
    labelled = by_label(records)
    rows: list[tuple[str, ...]] = []
    for test in test_names(records):
        for label, own in labelled.items():
            cell, images = accuracy_cell(own, test), str(_images(own, (test,))[0])
            rows.append((test, label, str(own[0].shots), format_cell(cell), images, _seeds(cell), _seconds(own)))
    targets = [test for test in test_names(records) if test != source]
    for label, own in labelled.items():
        cell, images = accuracy_cell(own, *targets), str(sum(_images(own, targets)))
        average = f"{AVERAGE} of {len(targets)}"
        rows.append((average, label, str(own[0].shots), format_cell(cell), images, _seeds(cell), _seconds(own)))
    headers = ("tested on", "method", "shots", "accuracy", "test images", "seeds", "s/run")
    sections = tuple(range(len(labelled), len(rows), len(labelled)))
    facts = (_learnt_on(source), *notes(records, headers))
    title = _title(f"Cross-data-set from {source}", records) if records else f"Cross-data-set from {source}"
    return with_best(Table(title, headers, tuple(rows), facts, sections), (3,))


def cross_dataset_paper_table(records: Sequence[ResultRecord], source: str) -> Table:
    """The same as the papers print it: a row per method, a column per data set, the average of the targets last."""
    targets = [test for test in test_names(records) if test != source]
    rows = []
    for label, own in by_label(records).items():
        cells = [format_cell(accuracy_cell(own, *tests)) for tests in ((source,), *zip(targets), targets)]
        rows.append((label, str(own[0].shots), *cells))
    title = cross_dataset_table(records, source).title
    headers = ("method", "shots", f"{source} (source)", *targets, f"{AVERAGE} of {len(targets)}")
    facts = (_learnt_on(source), *notes(records, headers))
    return with_best(Table(title, headers, tuple(rows), facts), range(2, len(headers)))


def _learnt_on(source: str) -> str:
    return f"learnt on {source}; the average is of the other data sets"


def domains_table(records: Sequence[ResultRecord], datasets: Sequence[str]) -> Table:
    """Accuracy on every domain, and the average of those that were not learnt."""
    tests = test_names(records)
    domains = [test for test in tests if test not in datasets]
    labelled = by_label(records)
    rows: list[tuple[str, ...]] = []
    for dataset in datasets:
        for label, own in labelled.items():
            here = [record for record in own if record.dataset == dataset]
            cells = [format_cell(accuracy_cell(here, *names) if here else None) for names in (*zip(tests), domains)]
            rows.append((dataset, label, str(here[0].shots) if here else MISSING, *cells))
    for label, own in labelled.items() if len(datasets) > 1 else ():
        averages = [average_cell(by_dataset(own), datasets, *names) for names in (*zip(tests), domains)]
        cells = [format_cell(average) for average in averages]
        rows.append((f"{AVERAGE} of {len(datasets)}", label, MISSING, *cells))
    headers = ("data set", "method", "shots", *tests, f"mean of {len(domains)}")
    sections = tuple(range(len(labelled), len(rows), len(labelled)))
    one_of_each = {record.dataset: record for record in records}.values()
    counts = (f"{test} {sum(_images([r], (test,))[0] for r in one_of_each)}" for test in _common_tests(records))
    facts = (f"test images in all: {', '.join(counts)}", *missing(labelled, datasets), *notes(records, headers))
    made = Table(_title("Domain generalisation", records), headers, tuple(rows), facts, sections)
    return with_best(made, range(3, len(headers)))


def test_names(records: Sequence[ResultRecord]) -> list[str]:
    """Names of all tests, in order of appearance."""
    return list(dict.fromkeys(score.name for record in records for score in record.scores))


def _common_tests(records: Sequence[ResultRecord]) -> tuple[str, ...]:
    """The tests that every record has."""
    return tuple(test for test in test_names(records) if all(any(s.name == test for s in r.scores) for r in records))


def pooled_table(records: Sequence[ResultRecord], tests: Sequence[str]) -> list[Table]:
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
    names = {"new": "novel"}
    headers = ("method", "shots", *(names.get(test, test) for test in tests), "test images", "data sets", "seeds")
    explanation = (
        "percentage points above zero-shot on the same test images, data sets of equal shots pooled; ± is one standard "
        "error over test images and seeds"
    )
    title = _title("Difference from zero-shot", records)
    return [Table(title, headers, tuple(rows), (explanation,))] if rows and baseline else []


def notes(records: Sequence[ResultRecord], headers: Sequence[str]) -> tuple[str, ...]:
    """What a reader of the numbers below the headers has to know; nothing where there are no records."""
    if not records:
        return ()
    first = records[0]
    seconds = "; s/run is the mean of a run's seconds, encoding included where nothing was cached"
    weights, precision = str(first.identity["weights"])[:12], first.identity["precision"]
    lines = [
        "accuracy in percent: mean ± population standard deviation over seeds"
        + ("; H is the harmonic mean of the means" if first.protocol == "base_to_novel" else ""),
        f"backbone {first.backbone} (weights {weights}), {precision}; the model of the last epoch is tested"
        + (seconds if "s/run" in headers else ""),
    ]
    told: dict[tuple[str, tuple[str, ...]], list[str]] = {}  # fact, data sets -> labels
    for label, own in by_label(records).items():
        facts = [(record, (_how_trained(record), *record.notes)) for record in own]
        for fact in dict.fromkeys(fact for _, listed in facts for fact in listed):
            where = tuple(dict.fromkeys(record.dataset for record, listed in facts if fact in listed))
            everywhere = len(where) == len({record.dataset for record in own})
            told.setdefault((fact, () if everywhere else where), []).append(label)
    for (fact, where), labels in told.items():
        lines.append(f"{'; '.join(labels)}{' on ' + ', '.join(where) if where else ''}: {fact}")
    return tuple(lines)


def _how_trained(record: ResultRecord) -> str:
    if record.deterministic:
        return "deterministic, one run stands for every seed"
    return f"training views: {record.augmentation}"


def _title(name: str, records: Sequence[ResultRecord]) -> str:
    return f"{name}, suite {records[0].suite}, {records[0].backbone}"


def _images(records: Sequence[ResultRecord], tests: Sequence[str]) -> list[int]:
    return [records[0].score(test).total for test in tests]


def format_cell(cell: Cell | None) -> str:
    """ "71.66 ± 0.52", without a spread where one run stands for every seed."""
    if cell is None:
        return MISSING
    return f"{cell.mean:.2f}" + (f" ± {cell.std:.2f}" if len(cell.seeds) > 1 else "")


def _number(value: float | None) -> str:
    return MISSING if value is None else f"{value:.2f}"


def _seeds(cell: Cell | None) -> str:
    if cell is None:
        return MISSING
    return "any" if cell.seeds == (0,) else ",".join(str(seed) for seed in cell.seeds)


def _seconds(records: Sequence[ResultRecord]) -> str:
    return f"{fmean(sum(record.seconds.values()) for record in records):.1f}" if records else MISSING
