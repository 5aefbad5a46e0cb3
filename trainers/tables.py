"""Records -> tables: Markdown for files, rich for terminals. What is missing shows as a dash, never as a number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable

from trainers.aggregate import (
    BASELINE,
    Cell,
    accuracy_cell,
    average_cell,
    by_label,
    harmonic_cell,
    pooled_difference,
)
from trainers.records import ResultRecord

MISSING = "–"
AVERAGE = "average"


@dataclass(frozen=True)
class Table:
    """A table with its caption; `sections` are the numbers of rows after which a line is drawn."""

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    sections: tuple[int, ...] = ()

    def markdown(self) -> str:
        """With the title as a heading and the notes as a list."""
        lines = [f"### {self.title}", "", _line(self.headers), _line(["---"] * len(self.headers))]
        lines += [_line(row) for row in self.rows]
        return "\n".join([*lines, "", *(f"- {note}" for note in self.notes)]).rstrip() + "\n"

    def rich(self) -> RichTable:
        """For 80 columns: tight, and a data set is named once. The notes are left to whoever prints it."""
        table = RichTable(
            title=self.title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=0, show_edge=False
        )
        for column, header in enumerate(self.headers):
            words = column < 2
            table.add_column(header, justify="left" if words else "right", no_wrap=words, max_width=16, overflow="fold")
        above = ""
        for number, row in enumerate(self.rows, start=1):
            first = "" if row[0] == above else row[0]
            cells = [cell.replace(" ± ", "±").replace(" + ", "+") for cell in row[1:]]
            table.add_row(first, *cells, end_section=number in self.sections)
            above = row[0]
        return table


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def tables(
    records: Sequence[ResultRecord], datasets: Sequence[str] = (), more_notes: Sequence[str] = ()
) -> list[Table]:
    """All tables that the records give: one set for every protocol, suite, backbone and precision.

    Args:
        datasets: the data sets that should be there, in this order; by default those that are.
        more_notes: what else readers of the first table have to know.
    """
    groups: dict[tuple[str, ...], list[ResultRecord]] = {}
    for record in records:
        weights, precision = str(record.identity["weights"]), str(record.identity["precision"])
        key = (record.protocol, record.suite, record.backbone, weights, precision)
        groups.setdefault(key, []).append(record)
    made: list[Table] = []
    for (protocol, *_), group in groups.items():
        wanted = [*datasets] or sorted({record.dataset for record in group})
        if protocol == "base_to_novel":
            made += [base_to_novel_table(group, wanted), *pooled_table(group, ("base", "new"))]
        elif protocol == "cross_dataset":
            made += [cross_dataset_table([r for r in group if r.dataset == source], source) for source in wanted]
        elif protocol == "domain_generalization":
            made += [domains_table(group, wanted), *pooled_table(group, _common_tests(group))]
        else:
            made += [few_shot_table(group, wanted), *pooled_table(group, ("all",))]
    if made and more_notes:
        made[0] = replace(made[0], notes=(*made[0].notes, *more_notes))
    return made


def base_to_novel_table(records: Sequence[ResultRecord], datasets: Sequence[str]) -> Table:
    """Base, novel and harmonic mean of every method on every data set, and on the average."""
    rows: list[tuple[str, ...]] = []
    labelled = by_label(records)
    for dataset in datasets:
        for label, own in labelled.items():
            here = [record for record in own if record.dataset == dataset]
            rows.append((dataset, label, *_base_to_novel_cells(here)))
    for label, own in labelled.items():
        by_dataset = _by_dataset(own)
        base, new = (average_cell(by_dataset, datasets, test) for test in ("base", "new"))
        images = [_images(by_dataset[name], ("base", "new")) for name in datasets if name in by_dataset]
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
    return Table(_title("Base to novel", records), headers, tuple(rows), notes(records), sections)


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
        averages = [average_cell(_by_dataset([r for r in own if r.shots == k]), datasets, "all") for k in shots]
        cells = [format_cell(average) for average in averages]
        rows.append((f"{AVERAGE} of {len(datasets)}", label, *cells, MISSING, _seconds(own)))
    headers = ("data set", "method", *(f"{k} shots" for k in shots), "test images", "s/run")
    sections = tuple(range(len(labelled), len(rows), len(labelled)))
    return Table(_title("Few shot", records), headers, tuple(rows), notes(records), sections)


def cross_dataset_table(records: Sequence[ResultRecord], source: str) -> Table:
    """Accuracy on the source's test images, on those of every other data set, and the average of the others."""
    labelled = by_label(records)
    rows: list[tuple[str, ...]] = []
    for test in _tests(records):
        for label, own in labelled.items():
            cell, images = accuracy_cell(own, test), str(_images(own, (test,))[0])
            rows.append((test, label, str(own[0].shots), format_cell(cell), images, _seeds(cell), _seconds(own)))
    targets = [test for test in _tests(records) if test != source]
    for label, own in labelled.items():
        cell, images = accuracy_cell(own, *targets), str(sum(_images(own, targets)))
        average = f"{AVERAGE} of {len(targets)}"
        rows.append((average, label, str(own[0].shots), format_cell(cell), images, _seeds(cell), _seconds(own)))
    headers = ("tested on", "method", "shots", "accuracy", "test images", "seeds", "s/run")
    sections = tuple(range(len(labelled), len(rows), len(labelled)))
    facts = (f"learnt on {source}; the average is of the other data sets", *(notes(records) if records else ()))
    title = _title(f"Cross-data-set from {source}", records) if records else f"Cross-data-set from {source}"
    return Table(title, headers, tuple(rows), facts, sections)


def domains_table(records: Sequence[ResultRecord], datasets: Sequence[str]) -> Table:
    """Accuracy on every domain, and the average of those that were not learnt."""
    tests = _tests(records)
    domains = [test for test in tests if test not in datasets]
    labelled = by_label(records)
    rows: list[tuple[str, ...]] = []
    for dataset in datasets:
        for label, own in labelled.items():
            here = [record for record in own if record.dataset == dataset]
            cells = [format_cell(accuracy_cell(here, *names) if here else None) for names in (*zip(tests), domains)]
            rows.append((dataset, label, str(here[0].shots) if here else MISSING, *cells))
    for label, own in labelled.items() if len(datasets) > 1 else ():
        averages = [average_cell(_by_dataset(own), datasets, *names) for names in (*zip(tests), domains)]
        cells = [format_cell(average) for average in averages]
        rows.append((f"{AVERAGE} of {len(datasets)}", label, MISSING, *cells))
    headers = ("data set", "method", "shots", *tests, f"mean of {len(domains)}")
    sections = tuple(range(len(labelled), len(rows), len(labelled)))
    one_of_each = {record.dataset: record for record in records}.values()
    counts = (f"{test} {sum(_images([r], (test,))[0] for r in one_of_each)}" for test in _common_tests(records))
    facts = (f"test images in all: {', '.join(counts)}", *notes(records))
    return Table(_title("Domain generalisation", records), headers, tuple(rows), facts, sections)


def _tests(records: Sequence[ResultRecord]) -> list[str]:
    """Names of all tests, in order of appearance."""
    return list(dict.fromkeys(score.name for record in records for score in record.scores))


def _common_tests(records: Sequence[ResultRecord]) -> tuple[str, ...]:
    """The tests that every record has."""
    return tuple(test for test in _tests(records) if all(any(s.name == test for s in r.scores) for r in records))


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


def notes(records: Sequence[ResultRecord]) -> tuple[str, ...]:
    """What a reader of the numbers has to know."""
    first = records[0]
    weights, precision = str(first.identity["weights"])[:12], first.identity["precision"]
    lines = [
        "accuracy in percent: mean ± population standard deviation over seeds"
        + ("; H is the harmonic mean of the means" if first.protocol == "base_to_novel" else ""),
        f"backbone {first.backbone} (weights {weights}), {precision}; the model of the last epoch is tested; s/run is "
        "the mean of a run's seconds, encoding included where nothing was cached",
    ]
    told: dict[tuple[str, tuple[str, ...]], list[str]] = {}  # fact, data sets -> labels
    for label, own in by_label(records).items():
        facts = [(record, (_how_trained(record), *record.notes)) for record in own]
        for fact in dict.fromkeys(fact for _, listed in facts for fact in listed):
            where = tuple(dict.fromkeys(record.dataset for record, listed in facts if fact in listed))
            everywhere = len(where) == len({record.dataset for record in own})
            told.setdefault((fact, () if everywhere else where), []).append(label)
    for (fact, where), labels in told.items():
        lines.append(f"{', '.join(labels)}{' on ' + ', '.join(where) if where else ''}: {fact}")
    return tuple(lines)


def _how_trained(record: ResultRecord) -> str:
    if record.deterministic:
        return "deterministic, one run stands for every seed"
    return f"training views: {record.augmentation}"


def _title(name: str, records: Sequence[ResultRecord]) -> str:
    return f"{name}, suite {records[0].suite}, {records[0].backbone}"


def _by_dataset(records: Sequence[ResultRecord]) -> Mapping[str, list[ResultRecord]]:
    grouped: dict[str, list[ResultRecord]] = {}
    for record in records:
        grouped.setdefault(record.dataset, []).append(record)
    return grouped


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
