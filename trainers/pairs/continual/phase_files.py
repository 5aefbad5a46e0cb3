"""A finished phase on disk: its adapter, and beside it what it was worth, so that nothing is computed twice."""

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

import adaptkit
from adaptkit import AdaptedCLIP, FrozenCLIP, TrainingFacts
from adaptkit.artefacts.atomic_file import write_text
from adaptkit.regular_file import read_json
from trainers.pairs.continual.result import Outcome, outcome_from_json, outcome_to_json
from trainers.training.checkpoints import discard_checkpoints

PHASE_FILE = "phase.json"
FINAL = "final"  # folder of a strategy's last adapter


def finished(folder: Path, identity: str) -> Outcome | None:
    """The outcome of a phase that was finished before; None where it was not.

    Raises:
        ValueError: if the folder has a phase of another run, or its file cannot be read.
    """
    path = folder / PHASE_FILE
    if not path.is_file():
        return None
    content = read_json(path, "phase")
    try:
        found, outcome = content["identity"], outcome_from_json(content["outcome"])  # type: ignore[index]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is no phase that was written here ({error!r}); remove its folder, or give another --out"
        ) from None
    if found != identity:
        raise ValueError(
            f"{path} is of another run: data, settings, seed or the phase before differ; give another --out, or "
            "remove the folder"
        )
    return outcome


def learnt_in(folder: Path, backbone: FrozenCLIP) -> Mapping[str, Tensor]:
    """The learnt tensors of a finished phase."""
    return adaptkit.load(folder, backbone.as_loaded()).learnt_state()


def write_phase(folder: Path, identity: str, outcome: Outcome, method: AdaptedCLIP, facts: TrainingFacts) -> None:
    """Write a phase; its file comes last, and says that the rest is there."""
    method.save_pretrained(folder, facts)
    content = {"identity": identity, "outcome": outcome_to_json(outcome)}
    write_text(folder / PHASE_FILE, json.dumps(content, indent=1, allow_nan=False) + "\n")
    discard_checkpoints(folder)
