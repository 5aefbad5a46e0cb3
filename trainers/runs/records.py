"""One record per finished run: a JSON file that says what was run, on what, and what came out.

A run's folder holds `record.json` and, where something was learnt, `learnt.safetensors`. Both appear whole or not at
all, the record last: a folder with a record is a finished run.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from adaptkit.artefacts.atomic_file import Json, write_text
from adaptkit.options import declared, from_plain, make
from adaptkit.regular_file import read_json, shortened
from trainers.evaluation.scoring import Bools, ConfidenceBin, Score
from trainers.labels import WRAP_SIGN
from trainers.runs.checksums import ChecksumError, take_checksums, with_checksums
from trainers.runs.old_records import OLD_VERSIONS, as_version_5

SCHEMA_VERSION = 5  # docs/records.md has every version
# Enters every run's id. Raise it with any change to the code that changes what a run computes.
RESULTS_VERSION = 1
RECORD_FILE = "record.json"
RUNS_FOLDER = "runs"  # of the runs of an adapter that was trained on own images, inside its folder
LEARNT_FILE = "learnt.safetensors"
ARCHITECTURE_FILE = "architecture.json"  # of a run that skips blocks
LAST_GOOD_FILE = "last_good.safetensors"  # of a training that diverged

BALANCED = "balanced_accuracy"  # a metric of tests whose classes have different numbers of images
DEPARTURE_MARK = " (recipe: "
MAX_RECORD_BYTES = 2**28  # 256 MiB; a record of ImageNet-21k's classes has some 2 MB


class RecordError(ValueError):
    """A file that is no record of this version; the message names it."""


@dataclass(frozen=True)
class TestScore:
    """How a model did on one test. What belongs to classification is None or empty where nothing is classified."""

    __test__ = False  # not a test case, whatever pytest makes of the name

    name: str  # "base", "new", "all", or a data set or domain
    metrics: dict[str, float]  # of classification "accuracy", "balanced_accuracy", "ece" in percent, "nll" in nats
    total: int  # test images, or queries
    items_hash: str  # of the test items
    correct: int | None = None
    interval: tuple[float, float] | None = None  # of the accuracy, 95 %, percent
    classnames: tuple[str, ...] = ()  # C
    per_class: tuple[float | None, ...] = ()  # accuracy in percent, C; None without test images
    bins: tuple[ConfidenceBin, ...] = ()  # 15, by rising confidence; none in records of version 1
    hits: str | None = None  # which images were right: N bits, packed, base64

    @property
    def accuracy(self) -> float:
        """Percent of the test images that were classified right."""
        return self.metrics["accuracy"]

    def right(self) -> Bools:
        """Which images were right: (N,).

        Raises:
            ValueError: if nothing was classified.
        """
        if self.hits is None:
            raise ValueError(f"test {self.name!r} classifies nothing, so no image is right or wrong")
        packed = np.frombuffer(base64.b64decode(self.hits), dtype=np.uint8)
        return np.unpackbits(packed, count=self.total).astype(np.bool_)


@dataclass(frozen=True)
class ResultRecord:
    """A finished run. `identity` holds all that can change the result, and `run_id` is its hash."""

    schema_version: int
    run_id: str
    identity: dict[str, Json]
    protocol: str
    suite: str
    dataset: str
    method: str
    shots: int  # 0 where the method uses no training image
    seed: int  # 0 where nothing random enters
    deterministic: bool  # one run stands for every seed
    backbone: str
    pretrained: str  # tag of its weights, "own" or "file"; "" in records of version 1
    scores: tuple[TestScore, ...]
    augmentation: str
    epochs: int
    steps: int
    train_items: int
    trainable_parameters: int
    final_loss: float | None  # mean of the last epoch
    seconds: dict[str, float]  # by phase
    peak_memory_mb: float | None  # of the device; on the CPU of the whole process so far
    versions: dict[str, str]
    hardware: dict[str, str]
    finished: str  # UTC, ISO 8601
    notes: tuple[str, ...]
    architecture: dict[str, Json] | None = None  # which blocks were skipped, as architecture.json says it
    metric: str = "accuracy"  # the main one of every test, as the protocol has it
    test_time: dict[str, Json] | None = None  # what was seen of unlabelled test images; None where nothing was
    side_by_side: int = 1  # runs that learnt in one loop; `seconds` of "train" are this run's equal share of its time

    @property
    def label(self) -> str:
        """The method with its wrappers: "coop", "coop+das"."""
        return method_label(self.identity)

    @property
    def sees(self) -> str | None:
        """What the method learnt from of unlabelled test images: "episodic", "online" or "transductive"."""
        return None if self.test_time is None else str(self.test_time["sees"])

    @property
    def stamps(self) -> tuple[str, ...]:
        """Words that set its numbers apart from those of others wherever they stand: `sees`, "oracle", "published"."""
        selection = self.identity.get("selection")
        return (*([self.sees] if self.sees else []), *([str(selection).replace("_", "-")] if selection else []))

    def score(self, name: str) -> TestScore:
        """The score of that name."""
        return next(score for score in self.scores if score.name == name)

    def value(self, test: str) -> float:
        """The main metric of a test."""
        return self.score(test).metrics[self.metric]

    @property
    def departures(self) -> tuple[str, ...]:
        """Settings that are not the recipe's, as "OPTIM.EPOCHS is 50 (recipe: 200)"."""
        return tuple(note for note in self.notes if DEPARTURE_MARK in note)


def method_label(identity: Mapping[str, Json]) -> str:
    """A run's method with its wrappers and objectives, the outermost first: "coop+das"."""
    around = [entry for key in ("wrap", "objective") for entry in _listed(identity.get(key))]
    return WRAP_SIGN.join([str(identity["method"]), *(str(entry[0]) for entry in around if isinstance(entry, list))])


def _listed(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def run_id(identity: Mapping[str, Json]) -> str:
    """SHA-256 in hex of all that can change a run's result."""
    content = {"results_version": RESULTS_VERSION, **identity}
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def run_folder(out: Path, identity: Mapping[str, Json]) -> Path:
    """Where a run's files lie, by what it is."""
    label = method_label(identity)
    name = f"{label}-{identity['shots']}shots-seed{identity['seed']}-{run_id(identity)[:12]}"
    return out / str(identity["protocol"]) / str(identity["dataset"]) / name


def test_score(name: str, score: Score, classnames: tuple[str, ...], items_hash: str) -> TestScore:
    """A score of classification in the form that a record keeps."""
    balanced = {BALANCED: score.balanced_accuracy} if score.is_uneven else {}
    return TestScore(
        name=name,
        metrics={"accuracy": score.accuracy, "ece": score.ece, "nll": score.nll} | balanced,
        total=score.total,
        items_hash=items_hash,
        correct=score.correct,
        interval=score.interval,
        classnames=classnames,
        per_class=tuple(None if np.isnan(value) else value for value in score.per_class),
        bins=score.bins,
        hits=base64.b64encode(np.packbits(score.hits).tobytes()).decode("ascii"),
    )


def write_record(record: ResultRecord, folder: Path) -> None:
    """Write a record into its run's folder, with the checksums of itself and of the files beside it."""
    content = with_checksums(json.loads(record_as_json(record)), folder, (LEARNT_FILE, ARCHITECTURE_FILE))
    write_text(folder / RECORD_FILE, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def record_as_json(record: ResultRecord) -> str:
    """A record as its file has it."""
    return json.dumps(asdict(record), indent=1, ensure_ascii=False, allow_nan=False)


def read_record(folder: Path) -> ResultRecord:
    """Read the record in a run's folder.

    Raises:
        FileNotFoundError: if the run has none.
        RecordError: if it is damaged or of a version that is not known here.
    """
    path = folder / RECORD_FILE
    try:
        content = read_json(path, "record", MAX_RECORD_BYTES)
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__}; expected an object")
        version = content.get("schema_version")
        if version not in (*OLD_VERSIONS, SCHEMA_VERSION):
            raise RecordError(f"{path} has schema {version}; this version reads 1 to {SCHEMA_VERSION}")
        take_checksums(content, path)
        record = _record_from_json(as_version_5(content))
        matches = record.run_id == run_id(record.identity)
    except RecordError:
        raise
    except ChecksumError as error:
        raise RecordError(str(error)) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = shortened(f"{type(error).__name__}: {error}")
        raise RecordError(f"{path} is no record ({reason}); remove it to have the run computed again") from error
    if not matches:
        raise RecordError(f"{path} does not match its id; remove it to have the run computed again")
    return record


def _record_from_json(content: dict[str, Json]) -> ResultRecord:
    record = _from_json(ResultRecord, {"architecture": None, **content})
    lacking = [score.name for score in record.scores if record.metric not in score.metrics]
    if lacking:
        raise ValueError(f"the test {lacking[0]!r} has no {record.metric!r}, the record's metric")
    return record


def _from_json(kind: type[ResultRecord], content: dict[str, Json]) -> ResultRecord:
    """Content -> a record with values of the declared types: lists of JSON become tuples, objects dataclasses."""
    hints = declared(kind)
    if content.keys() != hints.keys():
        raise TypeError(f"keys {sorted(content.keys() ^ hints.keys())} are missing or unknown")
    return make(kind, {key: from_plain(value, hints[key].hint) for key, value in content.items()})


def record_paths(out: Path) -> list[Path]:
    """The files of all records below a folder of runs, in order; folders with a dot are being written or removed."""
    return sorted(out.glob(f"[!.]*/[!.]*/[!.]*/{RECORD_FILE}"))


def read_records(out: Path) -> tuple[list[ResultRecord], list[str]]:
    """All records below a folder of runs, in order of path, and what is wrong with the files that are none."""
    records: list[ResultRecord] = []
    problems: list[str] = []
    for path in record_paths(out):
        try:
            records.append(read_record(path.parent))
        except RecordError as error:
            problems.append(str(error))
    return records, problems
