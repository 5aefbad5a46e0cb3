"""The reproduction ledger: a published number, ours, the difference, and whether seeds explain it.

A difference is within seed noise if it is no larger than the 95 % half-width of a difference of two means,
    t * s * sqrt(1 / n + 1 / m),
where s is our standard deviation over n seeds, t Student's quantile for n - 1 degrees of freedom, and the paper's m
seeds are taken to spread like ours, because papers rarely print their spread. Numbers that differ in more than the seed
are not comparable, and the ledger says why instead of judging.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import stdev
from typing import Literal, get_args

from trainers.evaluation.scoring import harmonic_mean
from trainers.protocols.registry import get_protocol
from trainers.report.publications import AVERAGE, PublishedRow, published_places, rows_to_compare
from trainers.runs.records import ResultRecord
from trainers.tables.aggregate import by_label
from trainers.tables.formats import MISSING, Table
from trainers.tables.tables import groups

Verdict = Literal["within seed noise", "outside seed noise", "not comparable", "not run"]

PAPER_SUITE = "paper"
PAPER_WEIGHTS = "openai"
# First words of notes on images other than the papers'.
OTHER_IMAGES = ("fallback split", "not the papers' images")
# Of notes on a training that was told class names of its tests.
SEEN_NAMES = "new classes were seen in training"
# Tolerance in percentage points for numbers without seeds: half precision and rounding.
NO_TRAINING_TOLERANCE = 0.1
# Student's 97.5 % quantiles, by degrees of freedom from 1.
T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
Z_975 = 1.960
DEPARTURES_SHOWN = 3


@dataclass(frozen=True)
class Ours:
    """Our number, with its values over seeds."""

    mean: float  # Mean in percent; for H, the harmonic mean of the base and new means.
    by_seed: Mapping[int, float]

    @property
    def std(self) -> float | None:
        """Sample standard deviation over seeds, or None for one seed."""
        return stdev(self.by_seed.values()) if len(self.by_seed) > 1 else None


@dataclass(frozen=True)
class LedgerRow:
    """A published number beside ours."""

    protocol: str
    suite: str
    backbone: str
    method: str
    shots: int
    place: str  # A data set or a test, or "average".
    measure: str  # A test that every data set has, "H", or the main metric where tests bear names of targets.
    published: float  # The published number in percent.
    variant: str
    source: str
    verified: bool  # True if the published number was read in its source.
    ours: float | None  # Our accuracy in percent.
    std: float | None  # Sample standard deviation over our seeds; None for one seed.
    seeds: tuple[int, ...]
    difference: float | None  # Ours less published, in percentage points.
    verdict: Verdict
    why: tuple[str, ...]  # Reasons why the numbers are not comparable.


def ledger(records: Sequence[ResultRecord]) -> list[LedgerRow]:
    """Every published number of the methods that were run; methods without any have no rows."""
    rows: list[LedgerRow] = []
    for group in groups(records):
        for label, own in by_label(group, tell_shots=False).items():
            for shots in sorted({record.shots for record in own}):
                rows += _rows_of([record for record in own if record.shots == shots], label, shots)
    return rows


def _rows_of(own: Sequence[ResultRecord], label: str, shots: int) -> Iterator[LedgerRow]:
    first = own[0]
    if first.label != first.method:  # No paper has our wrappers.
        return
    for row in rows_to_compare(first.protocol, first.method, plain_name(first.backbone)):
        if row.shots != shots and get_protocol(first.protocol).layout == "shots":
            continue
        for place, measures in row.values.items():
            if place != AVERAGE and first.suite != PAPER_SUITE:
                # Other data sets than the papers': only averages stand side by side.
                continue
            here = _records_at(own, place)
            why = _why_not(here or own, row, place)
            for measure, published in measures.items():
                ours = _ours(here, place, measure)
                yield _judge(first, label, row, place, measure, published, ours, why)


def plain_name(backbone: str) -> str:
    """Name of a backbone in published rows."""
    return backbone.replace("/", "-").removesuffix("-quickgelu")


def _records_at(own: Sequence[ResultRecord], place: str) -> list[ResultRecord]:
    """The records behind a number at a place."""
    if place == AVERAGE:
        return list(own)
    if get_protocol(own[0].protocol).tests:
        return [record for record in own if record.dataset == place]
    return [record for record in own if any(score.name == place for score in record.scores)]


def _ours(here: Sequence[ResultRecord], place: str, measure: str) -> Ours | None:
    """Our number for one place and measure, or None if runs are missing."""
    if not here:
        return None
    if measure == "H":
        pair = get_protocol(here[0].protocol).harmonic
        base, new = (_ours(here, place, test) for test in pair) if pair else (None, None)
        if base is None or new is None:
            return None
        by_seed = {seed: harmonic_mean(base.by_seed[seed], new.by_seed[seed]) for seed in base.by_seed}
        return Ours(harmonic_mean(base.mean, new.mean), by_seed)
    per_dataset: dict[str, dict[int, float]] = {}
    for record in here:
        per_dataset.setdefault(record.dataset, {})[record.seed] = _value(record, place, measure)
    seeds = set(next(iter(per_dataset.values())))
    if any(set(own) != seeds for own in per_dataset.values()):
        return None
    by_seed = {seed: math.fsum(own[seed] for own in per_dataset.values()) / len(per_dataset) for seed in sorted(seeds)}
    return Ours(math.fsum(by_seed.values()) / len(by_seed), by_seed)


def _value(record: ResultRecord, place: str, measure: str) -> float:
    """What a record has of a measure at a place: of a test that every data set has, or of the place's own test."""
    if get_protocol(record.protocol).tests:
        return record.value(measure)
    if place != AVERAGE:
        return record.value(place)
    targets = [record.value(score.name) for score in record.scores if score.name != record.dataset]
    return math.fsum(targets) / len(targets)


def _why_not(here: Sequence[ResultRecord], row: PublishedRow, place: str) -> tuple[str, ...]:
    """Reasons why our number is not comparable with the published one, besides seeds."""
    first = here[0]
    reasons = []
    if first.suite != PAPER_SUITE:
        reasons.append(f"other suite ({first.suite})")
    if plain_name(first.backbone) != row.backbone:
        reasons.append(f"other backbone ({first.backbone}; published {row.backbone})")
    elif first.pretrained != PAPER_WEIGHTS:
        reasons.append(f"weights from {first.pretrained or 'an unknown source'}, not OpenAI's")
    if first.shots != row.shots:
        reasons.append(f"other shots ({first.shots}; published {row.shots})")
    if not row.recipe:
        reasons.append(f"other recipe (published {row.variant or 'with settings that no recipe has'})")
    if not first.deterministic and first.identity.get("recipe") != "paper":
        reasons.append("other recipe (not run with --recipe paper)")
    changed = dict.fromkeys(departure for record in here for departure in record.departures)
    # The reasons above name the backbone and the shots.
    departures = [departure for departure in changed if not departure.startswith(("BACKBONE.", "SHOTS "))]
    if departures:
        more = f" and {len(departures) - DEPARTURES_SHOWN} more" if len(departures) > DEPARTURES_SHOWN else ""
        reasons.append(f"other recipe ({'; '.join(departures[:DEPARTURES_SHOWN])}{more})")
    if first.identity.get("selection") == "oracle":
        reasons.append("oracle: selected on the test images")
    reasons += dict.fromkeys(note for record in here for note in record.notes if SEEN_NAMES in note)
    if bool(first.identity.get("transductive")) != row.transductive:
        whose = "the published row is " if row.transductive else ""
        reasons.append(f"{whose}transductive: learnt from images and names of the new classes")
    reasons += dict.fromkeys(note for record in here for note in record.notes if any(m in note for m in OTHER_IMAGES))
    if place == AVERAGE and first.suite == PAPER_SUITE:
        expected = published_places(row.protocol)
        missing = [name for name in expected if not _records_at(here, name)]
        if missing:
            reasons.append(f"the average lacks {', '.join(missing)}")
    return tuple(reasons)


def _judge(
    first: ResultRecord,
    label: str,
    row: PublishedRow,
    place: str,
    measure: str,
    published: float,
    ours: Ours | None,
    why: tuple[str, ...],
) -> LedgerRow:
    seeds = tuple(ours.by_seed) if ours else ()
    if ours and not first.deterministic:
        if len(seeds) == 1:
            why = (*why, "one seed tells no noise")
        elif absent := sorted(set(row.seeds) - set(seeds)):
            why = (*why, f"seeds {', '.join(map(str, absent))} are missing")
    difference = ours.mean - published if ours else None
    if ours is None or difference is None:
        verdict: Verdict = "not run"
        why = ("runs or seeds are missing",)
    elif why:
        verdict = "not comparable"
    else:
        noise = seed_noise(ours.std, len(seeds), len(row.seeds)) if ours.std is not None else NO_TRAINING_TOLERANCE
        verdict = "within seed noise" if abs(difference) <= noise + row.rounding else "outside seed noise"
    return LedgerRow(
        protocol=first.protocol,
        suite=first.suite,
        backbone=first.backbone,
        method=label,
        shots=first.shots,
        place=place,
        measure=measure,
        published=published,
        variant=row.variant,
        source=row.source,
        verified=place not in row.unverified,
        ours=ours.mean if ours else None,
        std=ours.std if ours else None,
        seeds=seeds,
        difference=difference,
        verdict=verdict,
        why=why,
    )


def seed_noise(std: float, ours: int, theirs: int) -> float:
    """Half-width of the 95 % interval of a difference of two means over seeds, in percentage points."""
    quantile = T_975[ours - 2] if ours - 2 < len(T_975) else Z_975
    return quantile * std * math.sqrt(1 / ours + 1 / theirs)


def verdict_counts(rows: Sequence[LedgerRow]) -> str:
    """Counts of verdicts in words: "2 within seed noise, 31 not run"."""
    counts = {verdict: sum(row.verdict == verdict for row in rows) for verdict in get_args(Verdict)}
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count) or "no published number"


def ledger_tables(rows: Sequence[LedgerRow]) -> list[Table]:
    """The ledger as one table per protocol; sources are numbered and reasons lettered in the notes."""
    made = []
    for protocol in dict.fromkeys(row.protocol for row in rows):
        own = [row for row in rows if row.protocol == protocol]
        sources = list(dict.fromkeys(row.source for row in own))
        reasons = list(dict.fromkeys(row.why for row in own if row.why))
        lines = [
            (
                row.method,
                row.place,
                str(row.shots),
                get_protocol(protocol).label(row.measure),
                f"{row.published:.2f}{'' if row.verified else ' †'} [{sources.index(row.source) + 1}]",
                MISSING if row.ours is None else f"{row.ours:.2f}" + ("" if row.std is None else f" ± {row.std:.2f}"),
                MISSING if row.difference is None else f"{row.difference:+.2f}",
                row.verdict,
                _letter(reasons.index(row.why)) if row.why else "",
            )
            for row in own
        ]
        facts = [f"[{number}] {source}" for number, source in enumerate(sources, start=1)]
        facts += [f"{_letter(number)}: {'; '.join(why)}" for number, why in enumerate(reasons)]
        if not all(row.verified for row in own):
            facts.append("† recalled: no source of this number was read")
        facts.append(
            "± is our sample standard deviation over seeds; noise is the 95 % interval of a difference of means"
        )
        headers = ("method", "where", "shots", "measure", "published", "ours", "difference", "verdict", "why")
        ends = [i for i in range(1, len(own)) if own[i].method != own[i - 1].method]
        made.append(Table(f"Reproduction ledger, {protocol}", headers, tuple(lines), tuple(facts), tuple(ends)))
    return made


def _letter(number: int) -> str:
    """Letters for numbers from 0: a, b, ... z, aa, ab, ..."""
    first, last = divmod(number, 26)
    return (_letter(first - 1) if first else "") + chr(ord("a") + last)
