"""Checkpoints of one training on disk: written whole or not at all, checked when read, the last two kept.

A checkpoint is one safetensors file; facts other than tensors stand as JSON in its header. Its name holds the step and
the SHA-256 of its bytes, so a damaged file is known without a second one beside it. Nothing is pickled.
"""

import hashlib
import json
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

import adaptkit
from adaptkit.artefacts.atomic_file import Json, replacing
from adaptkit.regular_file import read_bytes
from datasets_fewshot.store.removal import plan_removal
from trainers.config.settings import CheckpointConfig

MAX_CHECKPOINT_BYTES = 2**35  # 32 GiB: all parameters of the largest open_clip model, with Adam's moments.
KEPT = 2  # The newest, and the one before in case of damage.
CHECKPOINT_NAME = r"\d{9,}-[0-9a-f]+\.safetensors"
CHECKPOINTS = "checkpoints"  # Folder of the checkpoints in a run's folder.


class DamagedCheckpointError(ValueError):
    """Error for a file that changed since writing, or belongs to another run or version; the message says why."""


@dataclass(frozen=True)
class Snapshot:
    """A training between two steps."""

    steps: int  # Number of steps done.
    tensors: dict[str, Tensor]
    facts: dict[str, Json]  # All values other than tensors.


class Checkpoints:
    """The checkpoints of one run.

    Args:
        run_folder: folder of the run.
        run_id: id of the run; checkpoints of other runs, or of other software versions, are not used.
        side_by_side: number of trainings that share the time from now on.
    """

    def __init__(self, run_folder: Path, run_id: str, config: CheckpointConfig, side_by_side: int = 1):
        self.folder = run_folder / CHECKPOINTS
        self.config = config
        self._origin: dict[str, Json] = {
            "run_id": run_id,
            "adaptkit": adaptkit.__version__,
            "torch": torch.__version__,
        }
        self._side_by_side = side_by_side
        self._earlier_seconds = 0.0
        self._last_saved = self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """This run's seconds of training so far, including those before an interruption."""
        return self._earlier_seconds + (time.monotonic() - self._started) / self._side_by_side

    def newest(self) -> Snapshot | None:
        """The newest sound snapshot; a warning names damaged ones."""
        for path in sorted(self._files(), reverse=True):
            try:
                snapshot, seconds = self._read(path)
            except (ValueError, OSError, SafetensorError) as error:
                warnings.warn(f"checkpoint {path} is not used: {error}", stacklevel=2)
                continue
            self._last_saved = self._started = time.monotonic()
            self._earlier_seconds = seconds
            return snapshot
        return None

    def is_due(self, steps: int) -> bool:
        """Whether to save after this number of steps."""
        by_clock, by_steps = self.config.seconds, self.config.steps
        if by_steps and steps % by_steps == 0:
            return True
        return bool(by_clock) and time.monotonic() - self._last_saved >= by_clock

    def save(self, snapshot: Snapshot) -> None:
        """Write a checkpoint and drop the third last; a warning reports a failed write."""
        facts = {**snapshot.facts, "origin": self._origin, "seconds": self.seconds}
        tensors = {name: tensor.cpu().contiguous() for name, tensor in snapshot.tensors.items()}
        content = safetensors.torch.save(tensors, {"facts": json.dumps(facts)})
        path = self.folder / f"{snapshot.steps:09d}-{_digest(content)}.safetensors"
        try:
            with replacing(path) as temporary:
                temporary.write_bytes(content)
        except OSError as error:  # The training itself can go on.
            warnings.warn(f"no checkpoint after {snapshot.steps} steps ({error})", stacklevel=2)
        else:
            for old in sorted(self._files(), reverse=True)[KEPT:]:
                old.unlink(missing_ok=True)
        self._last_saved = time.monotonic()

    def _files(self) -> Iterator[Path]:
        return self.folder.glob("[!.]*.safetensors")

    def _read(self, path: Path) -> tuple[Snapshot, float]:
        content = read_bytes(path, "checkpoint", MAX_CHECKPOINT_BYTES)
        steps, _, digest = path.stem.partition("-")
        if _digest(content) != digest:
            raise DamagedCheckpointError("its bytes have changed since it was written")
        try:
            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
            facts = json.loads(header["__metadata__"]["facts"])
            origin, seconds = facts["origin"], float(facts["seconds"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DamagedCheckpointError(f"its header is no checkpoint's ({type(error).__name__})") from error
        if origin != self._origin:
            raise DamagedCheckpointError(f"it is of {origin}; expected {self._origin}")
        return Snapshot(int(steps), safetensors.torch.load(content), facts), seconds


def discard_checkpoints(run_folder: Path) -> None:
    """Remove all checkpoints of a run."""
    folder = run_folder / CHECKPOINTS
    if folder.is_dir() and not folder.is_symlink():
        plan_removal(folder, [CHECKPOINT_NAME]).carry_out()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
