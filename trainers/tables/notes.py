"""What a reader of a table has to know: what its numbers are, how they came about, and what is missing."""

from collections.abc import Mapping, Sequence

from trainers.protocols.registry import EvalProtocol
from trainers.runs.records import ResultRecord
from trainers.tables.aggregate import by_label


def title(name: str, records: Sequence[ResultRecord]) -> str:
    """The heading of a table: what it is, of which suite and backbone."""
    return f"{name}, suite {records[0].suite}, {records[0].backbone}" if records else name


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


def notes(protocol: EvalProtocol, records: Sequence[ResultRecord], headers: Sequence[str]) -> tuple[str, ...]:
    """What a reader of the numbers below the headers has to know; nothing where there are no records."""
    if not records:
        return ()
    first = records[0]
    seconds = "; s/run is the mean of a run's seconds, encoding included where nothing was cached"
    if any(record.side_by_side > 1 for record in records):
        seconds += ", and of trainings side by side each run's equal share"
    weights, precision = str(first.identity["weights"])[:12], first.identity["precision"]
    lines = [
        f"{protocol.metric} in percent: mean ± population standard deviation over seeds"
        + ("; H is the harmonic mean of the means" if protocol.harmonic else ""),
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
