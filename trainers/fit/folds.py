"""Held-out logits of a training's own images: the training without a fold says what it makes of the fold.

The images are divided into folds class by class. For each fold the method is trained on the other folds, with the
settings of the training on all, and classifies the images of the fold; a test image takes part in neither. What learns
nothing of training images classifies them all as it is, because every one of them is held out.

The method that is used in the end has learnt from all images, and so from more than the methods that were asked here.
Scores of conformal prediction that come from folds are therefore a little pessimistic, and their promise is not exact;
that of images which the final method has never seen is.
"""

import dataclasses
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adaptkit import AdaptedCLIP
from datasets_fewshot import FewShotDataset, Item
from datasets_fewshot.splits.content_marks import content_marks
from trainers.compute.seeds import derived_seed
from trainers.evaluation.logits import predict
from trainers.evaluation.scoring import Floats, Ints
from trainers.feeding.encoded_pool import PoolEncoder
from trainers.protocols.task import EvalSet, Task
from trainers.runs.adapter import load_run
from trainers.runs.data import Bench
from trainers.runs.execute import execute
from trainers.runs.identity import Needs, Run, make_run
from trainers.runs.records import read_record

FOLDS = 5
HELD_OUT = "held out"  # the name of the test on a fold


@dataclass(frozen=True)
class HeldOut:
    """What a method says of N images that it has not learnt from."""

    logits: Floats  # (N, C)
    labels: Ints  # (N,)
    marks: tuple[str, ...]  # (N,) of the images' content
    source: str  # where they came from, in words
    notes: tuple[str, ...] = ()


def fold_of_each(labels: Sequence[int], marks: Sequence[str], folds: int, seed: int) -> list[int | None]:
    """The fold of each image, from 0 on; None for the only image of its class, which every training needs.

    Images with the same mark share a fold, so that no copy of a held-out image is learnt from. Each class is spread
    over the folds as evenly as it can be, beginning with the fold after the one where the class before ended.
    """
    first_label: dict[str, int] = {}
    for label, mark in zip(labels, marks, strict=True):
        first_label.setdefault(mark, label)
    of_class = defaultdict[int, list[str]](list)
    for mark, label in first_label.items():
        of_class[label].append(mark)
    rng, places, start = random.Random(derived_seed("folds", seed)), dict[str, int](), 0
    for label in sorted(of_class):
        of_label = of_class[label]
        rng.shuffle(of_label)
        if len(of_label) > 1:
            places |= {mark: (start + number) % folds for number, mark in enumerate(of_label)}
            start += len(of_label)
    return [places.get(mark) for mark in marks]


def held_out(
    run: Run, bench: Bench, method: AdaptedCLIP, out: Path, tell: Callable[[str], None], folds: int = FOLDS
) -> HeldOut:
    """Logits of the run's training images from methods that have not seen them.

    Args:
        method: the run's own, trained on all of them.
        out: a folder for the records of the trainings, with which a later call goes on.
        folds: at most; no more than the largest class has images.

    Raises:
        ValueError: if no class has two images.
    """
    if not run.uses_training:
        items = run.dataset.split.train
        test = EvalSet(HELD_OUT, run.dataset, items, run.task.classnames)
        logits, labels = predict(method, bench.feed(method).test(test), bench.precision)
        source = f"all {len(items)} training images, of which it learnt nothing"
        return HeldOut(logits, labels, content_marks(run.dataset, items), source)
    items = tuple(dict.fromkeys(run.task.train))
    marks = content_marks(run.dataset, items)
    folds = min(folds, most_folds(items, marks))
    places = fold_of_each([item.label for item in items], marks, folds, run.config.seed)
    pooled = dataclasses.replace(bench, encoder=PoolEncoder(bench.encoder, items), out=out)
    parts = []
    for fold in range(folds):
        held = tuple(item for item, place in zip(items, places, strict=True) if place == fold)
        if held:
            tell(f"{run.config.label}: fold {fold + 1} of {folds}")
            kept = tuple(item for item, place in zip(items, places, strict=True) if place != fold)
            parts.append(_logits_of_fold(run, pooled, kept, held))
    by_path = {item.path: mark for item, mark in zip(items, marks, strict=True)}
    count = sum(len(held) for _, _, held in parts)
    return HeldOut(
        np.concatenate([logits for logits, _, _ in parts]),
        np.concatenate([labels for _, labels, _ in parts]),
        tuple(by_path[item.path] for _, _, held in parts for item in held),
        f"{len(parts)} folds of {count} training images",
        _notes(run.dataset, items, places),
    )


def most_folds(items: Sequence[Item], marks: Sequence[str]) -> int:
    """As many folds as the largest class has different images.

    Raises:
        ValueError: if that is one, so that nothing can be held out.
    """
    counts = Counter(label for label, _ in {(item.label, mark) for item, mark in zip(items, marks, strict=True)})
    if max(counts.values()) < 2:
        raise ValueError(
            "no class has two different training images, so none can be held out to calibrate on; take two or more "
            "shots, or calibrate the adapter on images of its own: adaptkit calibrate ADAPTER --data IMAGES"
        )
    return max(counts.values())


def _logits_of_fold(
    run: Run, bench: Bench, kept: tuple[Item, ...], held: tuple[Item, ...]
) -> tuple[Floats, Ints, tuple[Item, ...]]:
    names = run.task.classnames
    test = EvalSet(HELD_OUT, run.dataset, held, names)
    task = Task(kept, run.task.val, names, (test,))
    part = make_run(run.config, run.dataset, task, Needs(run.uses_training, run.consumes, run.sees), bench)
    try:
        read_record(part.folder)
    except (FileNotFoundError, ValueError):
        execute(part, bench)
    method, _ = load_run(part.folder, bench.backbone)
    logits, labels = predict(method, bench.feed(method).test(test), bench.precision)
    return logits, labels, held


def _notes(dataset: FewShotDataset, items: Sequence[Item], places: Sequence[int | None]) -> tuple[str, ...]:
    alone = sorted({item.classname for item, place in zip(items, places, strict=True) if place is None})
    if not alone:
        return ()
    shown = ", ".join(repr(name) for name in alone[:3]) + (", ..." if len(alone) > 3 else "")
    return (
        f"{len(alone)} classes have one training image, which cannot be held out ({shown}); the calibration says "
        "nothing of them",
    )
