"""Every number of the tables as one line of CSV, unrounded, for spreadsheets and data frames."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields

from trainers.protocols.registry import get_protocol
from trainers.report.ledger import LedgerRow
from trainers.runs.records import ResultRecord
from trainers.tables.aggregate import Cell, by_label, harmonic_cell, metric_cell
from trainers.tables.tables import groups

HEADERS = (
    "protocol", "suite", "backbone", "weights", "precision", "dataset", "method", "shots", "test",
    "mean", "std", "seeds", "images", "trainable_parameters", "seconds",
)  # fmt: skip


def cells_csv(records: Sequence[ResultRecord]) -> str:
    """CSV with one line per data set, method, shots and test; H is a test, without a spread, where there is one."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADERS)
    for group in groups(records):
        for label, own in by_label(group, tell_shots=False).items():
            for dataset, shots in dict.fromkeys((record.dataset, record.shots) for record in own):
                here = [record for record in own if (record.dataset, record.shots) == (dataset, shots)]
                writer.writerows(_lines(label, here))
    return text.getvalue()


def _lines(label: str, here: Sequence[ResultRecord]) -> Iterator[tuple[object, ...]]:
    first = here[0]
    identity = first.identity
    seconds = sum(sum(record.seconds.values()) for record in here) / len(here)
    head = (first.protocol, first.suite, first.backbone, identity["weights"], identity["precision"], first.dataset)
    cells: dict[str, Cell | None] = {score.name: metric_cell(here, score.name) for score in first.scores}
    for test, cell in cells.items():
        assert cell is not None
        seeds, images = " ".join(map(str, cell.seeds)), first.score(test).total
        rest = (cell.mean, cell.std, seeds, images, first.trainable_parameters, seconds)
        yield (*head, label, first.shots, test, *rest)
    protocol = get_protocol(first.protocol)
    if protocol.harmonic:
        h = harmonic_cell(*(cells[test] for test in protocol.harmonic))
        yield (*head, label, first.shots, "H", h, "", seeds, "", first.trainable_parameters, seconds)


def ledger_csv(rows: Sequence[LedgerRow]) -> str:
    """The ledger as CSV, a line per published number."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(LedgerRow)], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({**asdict(row), "seeds": " ".join(map(str, row.seeds)), "why": "; ".join(row.why)})
    return text.getvalue()
