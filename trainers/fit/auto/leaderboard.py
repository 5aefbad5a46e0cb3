"""The files that a search leaves: its leaderboard, and the winner's logits on held-out images."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from adaptkit.artefacts.atomic_file import replacing, write_text
from trainers.evaluation.scoring import Ints
from trainers.fit.auto.trials import Logits
from trainers.report.decision.leaderboard import LEADERBOARD_FILE, LOGITS_FILE, TABLE_FILE, Leaderboard


@dataclass(frozen=True)
class FoldLogits:
    """Logits of trainings on images that they had not learnt from: what calibration may be fitted on."""

    logits: Logits  # (n, C)
    labels: Ints  # (n,)
    fold: Ints  # (n,) which of the folds held an image out
    images: tuple[str, ...]  # n paths, as the split lists them


def write_leaderboard(board: Leaderboard, folder: Path) -> None:
    """Write it as JSON and Markdown."""
    write_text(folder / LEADERBOARD_FILE, json.dumps(board.to_json(), indent=1, ensure_ascii=False) + "\n")
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
