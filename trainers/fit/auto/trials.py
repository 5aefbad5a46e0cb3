"""Trials: contenders that learn without a fold and answer its images, each written down once it is done.

A file holds one loop of trainings, because trainings that go side by side are rounded together: a search that goes on
after an interruption repeats a loop as a whole or not at all.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import safetensors
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from adaptkit.artefacts.atomic_file import Json, replacing
from datasets_fewshot import FewShotDataset, Item, files_hash, items_hash
from trainers.evaluation.logits import predict
from trainers.evaluation.scoring import Ints
from trainers.fit.auto.contenders import Contender
from trainers.fit.folds import Folds
from trainers.protocols.task import EvalSet, Task
from trainers.runs.data import Bench
from trainers.runs.identity import Run, classnames_hash
from trainers.runs.records import run_id
from trainers.runs.replicas import learn_together
from trainers.training.few_shot import TrainLog

MOST_LOGITS = 1_000_000  # of a trial that is not of the last rung: answers alone are kept of larger ones
SUFFIX = ".trial.safetensors"
Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Trial:
    """What the contenders of one loop answered to one fold."""

    answers: Ints  # (R, n); -1 where a training diverged
    logits: Logits | None  # (R, n, C), where they are kept
    seconds: float
    name: str  # of its file, which no other trial has
    failure: str = ""  # why the loop could not be trained at all


@dataclass(frozen=True)
class Ground:
    """What all trials have in common."""

    bench: Bench
    dataset: FewShotDataset
    items: tuple[Item, ...]  # the training images, N
    folds: Folds
    classnames: tuple[str, ...]
    folder: Path  # of the files
    clock: Callable[[], float]

    def facts(self) -> dict[str, Json]:
        """What decides every trial, as JSON."""
        bench = self.bench
        return {
            "items": items_hash(self.items),
            "files": files_hash(self.dataset.image_root, self.items, self.dataset.moved),
            "classnames": classnames_hash(self.classnames),
            "reading": self.dataset.reading,
            "weights": bench.backbone.weights_hash,
            "preprocess": str(bench.backbone.preprocess_cfg),
            "precision": bench.precision,
            "device": bench.backbone.device.type,
            "threads": torch.get_num_threads(),
        }


class Trials:
    """The trials of a search, from its folder or computed now."""

    def __init__(self, ground: Ground):
        self.ground = ground
        self.facts = ground.facts()

    def trial(self, loop: Sequence[Contender], length: int, fold: int, keep_logits: bool) -> Trial:
        """The answers of one loop to one fold.

        Args:
            length: steps of each training, or iterations of the fit.
            keep_logits: whether logits are kept, however many they are.
        """
        path = self._path(loop, length, fold)
        if (known := _read(path)) is not None and (known.logits is not None or not keep_logits):
            return known
        found = self._computed(loop, length, fold, path.name)
        rows, images, classes = (len(loop), *found.answers.shape[1:], len(self.ground.classnames))
        if not keep_logits and rows * images * classes > MOST_LOGITS:
            found = replace(found, logits=None)
        _write(path, found)
        return found

    def _path(self, loop: Sequence[Contender], length: int, fold: int) -> Path:
        learnt: list[Json] = list(self.ground.folds.learnt(fold))
        held: list[Json] = list(self.ground.folds.held[fold])
        settings: list[Json] = [one.facts(length) for one in loop]
        identity: dict[str, Json] = {**self.facts, "loop": settings, "learnt": learnt, "held": held}
        return self.ground.folder / f"{run_id(json.loads(json.dumps(identity)))[:32]}{SUFFIX}"

    def _computed(self, loop: Sequence[Contender], length: int, fold: int, name: str) -> Trial:
        ground = self.ground
        start = ground.clock()
        held = tuple(ground.items[place] for place in ground.folds.held[fold])
        learnt = tuple(ground.items[place] for place in ground.folds.learnt(fold))
        test = EvalSet("held out", ground.dataset, held, ground.classnames)
        task = Task(learnt, (), ground.classnames, (test,))
        runs = [
            Run(one.config(length), ground.dataset, task, True, self.facts, ground.folder, one.consumes) for one in loop
        ]
        answers = np.full((len(loop), len(held)), -1, dtype=np.int64)
        logits = np.zeros((len(loop), len(held), len(ground.classnames)), dtype=np.float32)
        failure = ""
        try:
            for row, one in enumerate(learn_together(runs, ground.bench)):
                if not isinstance(one.log, TrainLog):
                    continue
                given, _ = predict(one.method, ground.bench.feed(one.method).test(test), ground.bench.precision)
                if np.isfinite(given).all():
                    logits[row], answers[row] = given, given.argmax(axis=1)
        except ValueError as error:  # of a method that these images do not suit; the others go on
            failure = str(error)
        return Trial(answers, logits, ground.clock() - start, name, failure)


def _write(path: Path, trial: Trial) -> None:
    tensors: dict[str, Tensor] = {"answers": torch.from_numpy(trial.answers.astype(np.int32))}
    if trial.logits is not None:
        tensors["logits"] = torch.from_numpy(trial.logits)
    with replacing(path) as temporary:
        temporary.write_bytes(save(tensors, {"seconds": repr(trial.seconds), "failure": trial.failure}))


def _read(path: Path) -> Trial | None:
    """A trial that was written; None if there is none, or the file is damaged and has to be computed again."""
    try:
        with safetensors.safe_open(path, "np") as file:
            names = set(file.keys())
            answers = file.get_tensor("answers").astype(np.int64)
            logits = file.get_tensor("logits") if "logits" in names else None
            said = file.metadata()
            return Trial(answers, logits, float(said["seconds"]), path.name, said["failure"])
    except (OSError, safetensors.SafetensorError, KeyError, ValueError, TypeError):
        return None
