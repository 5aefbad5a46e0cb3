"""What a command has left on disk: its results, for comparison, and files that should not be there."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from benchmarks.kills.sessions import Place

RECORD, LEARNT = "record.json", "learnt.safetensors"
# What a record, a table or a summary says of the clock and the machine.
PASSING = ("seconds", "peak_memory_mb", "finished", "hardware", "side_by_side")
# What else carries the rounding of products that runs side by side compute together.
ROUNDED = ("final_loss", "ece", "nll", "bins", "checksums")
TOLERANCE = 1e-5  # of the norm of a learnt tensor
CHECKSUMS = "checksums"
SECONDS_COLUMN = "s/run"  # the last one of tables
SECONDS_CELL = re.compile(rb"\| [0-9.]+ \|$", re.MULTILINE)
LOGS = ".slurm"  # folder of submitit's scripts and logs
Stamp = tuple[int, int]  # change time (ns) and inode: a file that is written again has others


@dataclass(frozen=True)
class Results:
    """The files of a command with what has to be equal in them."""

    contents: dict[str, str]  # path -> digest
    learnt: dict[str, dict[str, Tensor]]  # path -> tensors, where they are equal within rounding alone
    stored: frozenset[str]  # names of the entries of the cache
    superfluous: tuple[str, ...]  # files and folders that nothing needs any more

    def differences(self, expected: "Results") -> list[str]:
        """Paths whose content is not that of an undisturbed command, missing and additional ones among them."""
        paths = sorted(self.contents.keys() | expected.contents.keys())
        found = [path for path in paths if self.contents.get(path) != expected.contents.get(path)]
        found += [path for path, tensors in self.learnt.items() if not _close(tensors, expected.learnt.get(path, {}))]
        return found + sorted(f"cache/{name}" for name in self.stored ^ expected.stored)


def _close(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(
        bool((ours[name] - value).double().norm() <= TOLERANCE * value.double().norm())
        for name, value in theirs.items()
    )


def results(place: Place, *, rounds: bool = False) -> Results:
    """Read all that a command has left.

    Args:
        rounds: whether numbers depend on which runs were trained side by side, by their rounding.
    """
    contents: dict[str, str] = {}
    learnt: dict[str, dict[str, Tensor]] = {}
    superfluous = []
    for path in sorted(place.out.rglob("*")):
        name = str(path.relative_to(place.out))
        if name.startswith(LOGS):
            continue
        if path.name.startswith(".") or "checkpoints" in path.relative_to(place.out).parts:
            superfluous.append(name)
        elif path.is_file() and rounds and path.name == LEARNT:
            contents[name], learnt[name] = "within rounding", load_file(path)
        elif path.is_file():
            contents[name] = hashlib.sha256(_lasting(path, (*PASSING, *(ROUNDED if rounds else ())))).hexdigest()
    features = place.cache / "features"
    entries = sorted(features.iterdir()) if features.is_dir() else []
    superfluous += [f"cache/{entry.name}" for entry in entries if entry.name.startswith(".")]
    stored = frozenset(entry.name for entry in entries if not entry.name.startswith("."))
    return Results(contents, learnt, stored, tuple(superfluous))


def _lasting(path: Path, passing: Sequence[str]) -> bytes:
    """The content of a file without what passes, such as times and memory."""
    if path.suffix == ".json":
        return json.dumps(_without(json.loads(path.read_text(encoding="utf-8")), passing), sort_keys=True).encode()
    return SECONDS_CELL.sub(b"|", path.read_bytes()) if path.suffix == ".md" else path.read_bytes()


def _without(value: Any, passing: Sequence[str]) -> Any:
    if isinstance(value, dict) and SECONDS_COLUMN in value.get("headers", ()):
        place = value["headers"].index(SECONDS_COLUMN)
        value = {**value, "rows": [[*row[:place], *row[place + 1 :]] for row in value["rows"]]}
    if isinstance(value, dict) and isinstance(value.get(CHECKSUMS), dict):  # a record's own covers its times, too
        value = {**value, CHECKSUMS: {name: digest for name, digest in value[CHECKSUMS].items() if name != "record"}}
    if isinstance(value, dict):
        return {key: _without(entry, passing) for key, entry in value.items() if key not in passing}
    return [_without(entry, passing) for entry in value] if isinstance(value, list) else value


def finished(place: Place) -> dict[str, Stamp]:
    """The files of finished runs: those with a record, which nothing may compute again."""
    found: dict[str, Stamp] = {}
    for record in place.out.rglob(RECORD):
        for path in (record, record.with_name(LEARNT)):
            if path.exists():
                status = path.stat()
                found[str(path.relative_to(place.out))] = (status.st_mtime_ns, status.st_ino)
    return found


def goes_on_from(place: Place) -> str:
    """Where the next start of a command goes on: from a checkpoint, or from the start of a run."""
    for folder in place.out.rglob("checkpoints"):
        if not (folder.parent / RECORD).exists() and any(folder.glob("[!.]*.safetensors")):
            return "a checkpoint"
    return "the start of a run"
