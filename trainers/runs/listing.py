"""Finished runs as lists, descriptions and differences; how to find them by name and remove them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets_fewshot.store.removal import Removal, plan_removal
from trainers.runs.records import (
    ARCHITECTURE_FILE,
    LAST_GOOD_FILE,
    LEARNT_FILE,
    RECORD_FILE,
    Json,
    ResultRecord,
    TestScore,
    read_record,
    record_paths,
)

ID_LETTERS = 12  # Letters of a run's id, as in its folder's name.
HASH_LETTERS = 64  # Letters of a SHA-256 in hex.
SHOWN_CLASSES = 5
RUN_NAME = re.compile(r".+-\d+shots-seed\d+-[0-9a-f]{3,64}")
RECORD_START = b'{\n "schema_version":'  # the beginning of every record
RECORD_MARK = re.compile(rb'\s*\{\s*"schema_version":')
RUN_FILES = [
    re.escape(name) for name in (RECORD_FILE, LEARNT_FILE, ARCHITECTURE_FILE, LAST_GOOD_FILE, "failed.json", ".claim")
]
CHECKPOINTS, CHECKPOINT_FILES = "checkpoints", [r"\d{9,}-[0-9a-f]+\.safetensors"]


class RunNotFoundError(ValueError):
    """Error for no run of that name, or several; the message says how to name one."""


def find_folder(name: str, runs: Path) -> Path:
    """The folder of a run: `name` is the folder itself, its name, or the first letters of the run's id.

    Raises:
        RunNotFoundError: if there is no such run, or more than one.
    """
    given = Path(name)
    if (given / RECORD_FILE).is_file():
        return given
    folders = [path.parent for path in record_paths(runs)]
    found = [folder for folder in folders if name in (folder.name, str(folder.relative_to(runs)))]
    found = found or [folder for folder in folders if folder.name.rpartition("-")[2].startswith(name[:ID_LETTERS])]
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(str(folder.relative_to(runs)) for folder in found[:SHOWN_CLASSES])
        raise RunNotFoundError(f"{name!r} is the start of {len(found)} runs' ids ({listed} ...); write more letters")
    raise RunNotFoundError(f"no run {name!r} in {str(runs)!r}; `adaptkit runs ls {runs}` lists them")


def find_run(name: str, runs: Path) -> tuple[Path, ResultRecord]:
    """Folder and record of a run."""
    folder = find_folder(name, runs)
    return folder, read_record(folder)


def plan_run_removal(folder: Path) -> Removal:
    """What the removal of a run would take away: the files that runs write, and the folder if nothing else is in it.

    Raises:
        RunNotFoundError: if the folder does not carry the marks of a run, sound or damaged.
    """
    try:
        with (folder / RECORD_FILE).open("rb") as file:
            start = file.read(200)
        marked = RECORD_MARK.match(start) is not None or RECORD_START.startswith(start)  # One may be cut off.
    except OSError:
        marked = False
    named = RUN_NAME.fullmatch(folder.resolve().name) is not None
    if not marked or not named or folder.is_symlink() or (folder / RECORD_FILE).is_symlink():
        raise RunNotFoundError(
            f"{str(folder)!r} is no folder of a run, although it has a {RECORD_FILE}, so it is not removed"
        )
    return plan_removal(folder, RUN_FILES, [(CHECKPOINTS, CHECKPOINT_FILES)])


def remove_run(removal: Removal) -> None:
    """Remove a run: the record goes first, and with it the run; then its other files."""
    (removal.folder / RECORD_FILE).unlink()
    removal.carry_out()


def short_record(record: ResultRecord) -> dict[str, Json]:
    """A record in short, for a list."""
    return {
        "run_id": record.run_id,
        "protocol": record.protocol,
        "suite": record.suite,
        "dataset": record.dataset,
        "method": record.label,
        "backbone": record.backbone,
        "shots": record.shots,
        "seed": record.seed,
        record.metric: {score.name: record.value(score.name) for score in record.scores},
        "seconds": round(sum(record.seconds.values()), 2),
        "finished": record.finished,
    }


def text_table(records: Sequence[ResultRecord]) -> str:
    """A line per run, in columns; of more than two tests the first ones are shown."""
    metrics = " or ".join(dict.fromkeys(record.metric for record in records)) or "accuracy"
    headers = ("id", "protocol", "data set", "method", "shots", "seed", f"{metrics} in percent", "s", "finished")
    rows = [headers]
    for record in records:
        scores = [f"{score.name} {record.value(score.name):.2f}" for score in record.scores[:2]]
        more = [f"and {len(record.scores) - 2} more"] if len(record.scores) > 2 else []
        seed = "any" if record.deterministic else str(record.seed)
        seconds = f"{sum(record.seconds.values()):.1f}"
        finished = record.finished[:16].replace("T", " ")
        rows.append(
            (record.run_id[:ID_LETTERS], record.protocol, record.dataset, record.label, str(record.shots), seed,
             ", ".join([*scores, *more]), seconds, finished)
        )  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(headers))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def describe(record: ResultRecord, folder: Path) -> str:
    """A description of a run in lines, for readers."""
    learnt = folder / LEARNT_FILE
    facts = {
        "run": record.run_id,
        "folder": str(folder),
        "what": f"{record.label} on {record.dataset}, {record.protocol}, suite {record.suite}",
        "shots, seed": "any" if record.deterministic else f"{record.shots}, {record.seed}",
        "backbone": f"{record.backbone}, weights {record.pretrained or 'of unknown source'} "
        f"({str(record.identity.get('weights'))[:ID_LETTERS]}), {record.identity.get('precision')}",
        "training": f"{record.train_items} images, {record.epochs} epochs, {record.steps} steps; {record.augmentation}",
        "learnt": f"{record.trainable_parameters:,} parameters"
        + (f", {learnt.stat().st_size / 1024:.0f} KiB in {LEARNT_FILE}" if learnt.is_file() else ""),
        "final loss": "none" if record.final_loss is None else f"{record.final_loss:.4f}",
        "seconds": ", ".join(f"{phase} {seconds:.2f}" for phase, seconds in record.seconds.items())
        + (f" (its share of {record.side_by_side} side by side)" if record.side_by_side > 1 else ""),
        "peak memory": "unknown" if record.peak_memory_mb is None else f"{record.peak_memory_mb:.0f} MB",
        "hardware": ", ".join(v if name == "device" else f"{name} {v}" for name, v in record.hardware.items()),
        "versions": ", ".join(f"{name} {version}" for name, version in record.versions.items()),
        "finished": record.finished,
    }
    lines = [f"{name + ':':<13} {fact}" for name, fact in facts.items()]
    for score in record.scores:
        lines += ["", *_score_lines(score)]
    return "\n".join([*lines, *([""] if record.notes else []), *(f"note: {note}" for note in record.notes)])


def _score_lines(score: TestScore) -> list[str]:
    if score.correct is None or score.interval is None:  # nothing was classified
        values = ", ".join(f"{name} {value:.2f}" for name, value in score.metrics.items())
        return [f"{score.name}: {values} ({score.total} tested)", f"  items {score.items_hash[:12]}"]
    interval = "{:.2f} .. {:.2f}".format(*score.interval)
    ece, nll = score.metrics["ece"], score.metrics["nll"]
    lines = [
        f"{score.name}: {score.accuracy:.2f} % ({score.correct} of {score.total}; 95 % interval {interval})",
        f"  calibration error {ece:.2f} %, log-likelihood {-nll:.4f}, items {score.items_hash[:12]}",
    ]
    known = [(value, name) for name, value in zip(score.classnames, score.per_class, strict=True) if value is not None]
    worst = ", ".join(f"{name} {value:.0f} %" for value, name in sorted(known)[:SHOWN_CLASSES])
    return [*lines, f"  weakest of {len(known)} classes: {worst}"]


@dataclass(frozen=True)
class TestDifference:
    """Two results of one test, each as (left, right)."""

    __test__ = False  # Keeps pytest from collecting it.

    name: str
    metrics: dict[str, tuple[float, float]]  # Those that both have, the main one first.
    other_items: bool  # True if they were tested on different items.
    # Images that only one of them got right; None if that is not known.
    only_right_in: tuple[int, int] | None

    def __str__(self) -> str:
        left, right = next(iter(self.metrics.values()))
        images = "other test images" if self.other_items else "nothing was classified"
        if self.only_right_in is not None:
            images = "right in the first alone {}, in the second alone {}".format(*self.only_right_in)
        return f"{self.name}: {left:.2f} -> {right:.2f} ({right - left:+.2f}); {images}"


@dataclass(frozen=True)
class RunDifference:
    """The differences of two runs, settings and circumstances as (left, right)."""

    runs: tuple[str, str]
    settings: dict[str, tuple[Json, Json]]
    tests: tuple[TestDifference, ...]  # Tests of both runs.

    def __str__(self) -> str:
        lines = [" -> ".join(name[:ID_LETTERS] for name in self.runs)]
        lines += [f"  {key}: {_short(left)} -> {_short(right)}" for key, (left, right) in self.settings.items()]
        return "\n".join([*lines, *(map(str, self.tests) if self.tests else ["they have no test in common"])])


def _short(value: Json) -> str:
    """A setting in one line: hashes by their first letters, a dash if a side has none."""
    if value is None:
        return "–"
    is_hash = isinstance(value, str) and len(value) == HASH_LETTERS and not set(value) - set("0123456789abcdef")
    return str(value)[:ID_LETTERS] if is_hash else str(value)


def difference(left: ResultRecord, right: ResultRecord) -> RunDifference:
    """Compare two runs."""
    sides = [_flat({**record.identity, **_circumstances(record)}) for record in (left, right)]
    pairs = {key: (sides[0].get(key), sides[1].get(key)) for key in dict.fromkeys([*sides[0], *sides[1]])}
    settings = {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
    shared = [score.name for score in left.scores if any(other.name == score.name for other in right.scores)]
    tests = tuple(
        _test_difference(left.score(name), right.score(name), left.metric)
        for name in shared
        if left.metric == right.metric
    )
    return RunDifference((left.run_id, right.run_id), settings, tests)


def _circumstances(record: ResultRecord) -> dict[str, Json]:
    """Circumstances that do not change a result by themselves, but may explain a difference."""
    return {
        "seconds": round(sum(record.seconds.values()), 2),
        "versions": dict(record.versions),
        "hardware": dict(record.hardware),
        "trainable_parameters": record.trainable_parameters,
    }


def _flat(content: Mapping[str, Json], prefix: str = "") -> dict[str, Json]:
    flat: dict[str, Json] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _test_difference(left: TestScore, right: TestScore, metric: str) -> TestDifference:
    alone = None
    if left.items_hash == right.items_hash and left.hits is not None and right.hits is not None:
        hits, others = left.right(), right.right()
        alone = int(np.sum(hits & ~others)), int(np.sum(~hits & others))
    names = [metric, *(name for name in left.metrics if name in right.metrics and name != metric)]
    metrics = {name: (left.metrics[name], right.metrics[name]) for name in names}
    return TestDifference(left.name, metrics, left.items_hash != right.items_hash, alone)
