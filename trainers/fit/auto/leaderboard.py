"""The leaderboard of a search as JSON and Markdown, and the winner's logits on held-out images."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from adaptkit.artefacts.atomic_file import Json, replacing, write_text
from trainers.evaluation.scoring import Ints
from trainers.fit.auto.trials import Logits
from trainers.tables.formats import MISSING, Table

JSON_FILE, TABLE_FILE, LOGITS_FILE = "leaderboard.json", "leaderboard.md", "fold_logits.safetensors"
VERSION = 1


@dataclass(frozen=True)
class Row:
    """One candidate; percent where scores are, and None where it has none."""

    candidate: str
    method: str
    tier: str
    settings: Mapping[str, object]
    state: str  # "chosen", "last rung", "rung 1 of 3", "not tried", "left out", "diverged" or "failed"
    mean: float | None = None
    standard_error: float | None = None
    above_zero_shot: float | None = None
    above_standard_error: float | None = None
    folds: int = 0
    steps: int = 0  # of all its trials
    seconds: float = 0.0  # of all its trials
    reason: str | None = None  # why it was not tried, or no further


@dataclass(frozen=True)
class FoldLogits:
    """Logits of trainings on images that they had not learnt from: what calibration may be fitted on."""

    logits: Logits  # (n, C)
    labels: Ints  # (n,)
    fold: Ints  # (n,) which of the folds held an image out
    images: tuple[str, ...]  # n paths, as the split lists them


@dataclass(frozen=True)
class Leaderboard:
    """What a search found, with everything that it was told."""

    decision: str
    chosen: str
    metric: str
    budget: str
    spent: str  # in the budget's unit, before the refit
    seed: int
    images: int  # training images
    held_out: int  # images that were held out by some fold
    folds: int
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """The content of the JSON file."""
        content: dict[str, Json] = json.loads(json.dumps({"version": VERSION, **asdict(self)}))
        return content

    def table(self) -> Table:
        """A row per candidate, the best of the highest rung first."""
        rows = tuple(
            (
                row.candidate,
                row.state,
                _with_error(row.mean, row.standard_error),
                _with_error(row.above_zero_shot, row.above_standard_error, signed=True),
                str(row.folds) if row.folds else MISSING,
                str(row.steps) if row.folds else MISSING,
                f"{row.seconds:.1f}" if row.folds else MISSING,
            )
            for row in self.rows
        )
        reasons: dict[str, list[str]] = {}
        for row in self.rows:
            if row.reason:
                reasons.setdefault(row.reason, []).append(row.candidate)
        notes = (
            self.decision,
            f"{self.metric.replace('_', ' ')} in percent with standard errors, on {self.held_out} of {self.images} "
            f"training images that {self.folds} folds held out; no test image was looked at",
            f"budget {self.budget}, of which the search took {self.spent}; seed {self.seed}",
            *self.notes,
            *(f"{reason}: {'; '.join(names)}" for reason, names in reasons.items()),
        )
        headers = ("candidate", "state", "held out", "above zero-shot", "folds", "steps", "seconds")
        return Table("Leaderboard", headers, rows, notes)


def write_leaderboard(board: Leaderboard, folder: Path) -> None:
    """Write it as JSON and Markdown."""
    write_text(folder / JSON_FILE, json.dumps(board.to_json(), indent=1, ensure_ascii=False) + "\n")
    write_text(folder / TABLE_FILE, board.table().markdown())


def write_fold_logits(kept: FoldLogits | None, folder: Path) -> None:
    """Write the winner's held-out logits; without them, remove those of an earlier search."""
    path = folder / LOGITS_FILE
    if kept is None:
        path.unlink(missing_ok=True)
        return
    tensors = {
        "logits": torch.from_numpy(np.ascontiguousarray(kept.logits)),
        "labels": torch.from_numpy(kept.labels),
        "fold": torch.from_numpy(kept.fold),
    }
    with replacing(path) as temporary:
        metadata = {"images": json.dumps(kept.images, ensure_ascii=False)}
        temporary.write_bytes(safetensors.torch.save(tensors, metadata))


def read_fold_logits(folder: Path) -> FoldLogits:
    """The held-out logits that a search left beside its adapter.

    Raises:
        FileNotFoundError: if it left none.
        ValueError: if the file is damaged.
    """
    path = folder / LOGITS_FILE
    try:
        with safetensors.safe_open(path, "np") as file:
            images: Sequence[str] = json.loads(file.metadata()["images"])
            logits, labels, fold = (file.get_tensor(name) for name in ("logits", "labels", "fold"))
    except (safetensors.SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} holds no logits of folds: {error}; repeat `adaptkit train auto`") from None
    return FoldLogits(logits, labels, fold, tuple(images))


def _with_error(mean: float | None, error: float | None, signed: bool = False) -> str:
    if mean is None:
        return MISSING
    return f"{mean:+.1f} ± {error or 0.0:.1f}" if signed else f"{mean:.1f} ± {error or 0.0:.1f}"
