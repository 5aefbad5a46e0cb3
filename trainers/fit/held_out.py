"""Held-out logits of a training's own images: the training without a fold says what it makes of the fold.

The training images are divided into folds. For each fold the method is trained on the other folds, with the settings of
the training on all, and classifies the images of the fold; a test image takes part in neither. What learns nothing of
training images classifies them all as it is, because every one of them is held out.

The method that is used in the end has learnt from all images, and so from more than the methods that were asked here.
Scores of conformal prediction that come from folds are therefore a little pessimistic, and their promise is not exact;
that of images which the final method has never seen is.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adaptkit import AdaptedCLIP
from datasets_fewshot import Item
from datasets_fewshot.splits.content_marks import content_marks
from trainers.evaluation.logits import predict
from trainers.evaluation.scoring import Floats, Ints
from trainers.feeding.encoded_pool import PoolEncoder
from trainers.fit.folds import FOLDS, Folds, make_folds
from trainers.protocols.task import EvalSet, Task
from trainers.runs.adapter import load_run
from trainers.runs.data import Bench
from trainers.runs.execute import execute
from trainers.runs.identity import Needs, Run, make_run
from trainers.runs.records import read_record

HELD_OUT = "held out"  # the name of the test on a fold


@dataclass(frozen=True)
class HeldOut:
    """What a method says of N images that it has not learnt from."""

    logits: Floats  # (N, C)
    labels: Ints  # (N,)
    marks: tuple[str, ...]  # (N,) of the images' content
    source: str  # where they came from, in words


def held_out(
    run: Run, bench: Bench, method: AdaptedCLIP, out: Path, tell: Callable[[str], None], most: int = FOLDS
) -> HeldOut:
    """Logits of the run's training images from methods that have not seen them.

    Args:
        method: the run's own, trained on all of them.
        out: a folder for the records of the trainings, with which a later call goes on.
        most: folds, which are no more than the largest class has images.

    Raises:
        ValueError: if no class has two images.
    """
    if not run.uses_training:
        items = run.dataset.split.train
        logits, labels = _answers(method, run, items, bench)
        source = f"all {len(items)} training images, of which it learnt nothing"
        return HeldOut(logits, labels, content_marks(run.dataset, items), source)
    items = tuple(dict.fromkeys(run.task.train))
    marks = content_marks(run.dataset, items)
    folds = folds_of(items, marks, run.config.seed, most)
    pooled = dataclasses.replace(bench, encoder=PoolEncoder(bench.encoder, items), out=out)
    answers = []
    for fold in range(len(folds.held)):
        tell(f"{run.config.label}: fold {fold + 1} of {len(folds.held)}")
        learnt, held = ([items[place] for place in places] for places in (folds.learnt(fold), folds.held[fold]))
        answers.append(_answers(_trained(run, learnt, held, pooled), run, held, pooled))
    logits, labels = (np.concatenate(parts) for parts in zip(*answers, strict=True))
    every = folds.first(len(folds.held)).tolist()
    return HeldOut(logits, labels, tuple(marks[place] for place in every), said(len(folds.held), len(every)))


def said(folds: int, images: int) -> str:
    """Where held-out answers came from, in words."""
    return f"{folds} folds of {images} training images"


def folds_of(items: Sequence[Item], marks: Sequence[str], seed: int, most: int = FOLDS) -> Folds:
    """Folds of training images, of which those with the same mark count as one.

    Raises:
        ValueError: if nothing can be held out.
    """
    folds = make_folds([item.label for item in items], marks, seed, most)
    if not folds.held:
        raise ValueError(
            "no class has two different training images, so none can be held out to calibrate on; take two or more "
            "shots, or calibrate the adapter on images of its own: adaptkit calibrate ADAPTER --data IMAGES"
        )
    return folds


def _trained(run: Run, learnt: Sequence[Item], held: Sequence[Item], bench: Bench) -> AdaptedCLIP:
    """The run's method after a training on some of its images, which is done once and kept."""
    test = EvalSet(HELD_OUT, run.dataset, tuple(held), run.task.classnames)
    task = Task(tuple(learnt), run.task.val, run.task.classnames, (test,))
    part = make_run(run.config, run.dataset, task, Needs(run.uses_training, run.consumes, run.sees), bench)
    try:
        read_record(part.folder)
    except (FileNotFoundError, ValueError):
        execute(part, bench)
    method, _ = load_run(part.folder, bench.backbone)
    return method


def _answers(method: AdaptedCLIP, run: Run, items: Sequence[Item], bench: Bench) -> tuple[Floats, Ints]:
    """Logits (n, C) and labels (n,) of images."""
    test = EvalSet(HELD_OUT, run.dataset, tuple(items), run.task.classnames)
    return predict(method, bench.feed(method).test(test), bench.precision)
