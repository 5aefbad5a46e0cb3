"""Answers of models of the adapter's method to images that they have not learnt from, by folds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from adaptkit import AdaptedCLIP
from datasets_fewshot import FewShotDataset, Item
from trainers.config.settings import RunConfig
from trainers.evaluation.logits import predict
from trainers.evaluation.scoring import Floats, Ints
from trainers.feeding.encoded_pool import PoolEncoder
from trainers.fit.folds import Folds
from trainers.protocols.task import EvalSet, Task
from trainers.runs.data import Bench
from trainers.runs.identity import Run
from trainers.runs.replicas import learn_together
from trainers.training.few_shot import DivergedError


@dataclass(frozen=True)
class HeldOut:
    """Logits (N, C) of images, each by a model that has not learnt from it or from a copy of it."""

    places: Ints  # (N,) of the images among those that were given
    labels: Ints  # (N,)
    logits: Floats
    folds: int  # 0 where the method learns from no image


def held_out_answers(
    config: RunConfig,
    dataset: FewShotDataset,
    items: Sequence[Item],
    folds: Folds,
    val: Sequence[Item],
    bench: Bench,
    tell: Callable[[str], None],
) -> HeldOut:
    """Train the method of a run once per fold, on all other folds, and let it answer on the fold.

    Args:
        folds: of the images; those that no fold holds out get no answer.
        val: images on which methods that tune themselves do so, as in a training; none of them is in a fold.

    Raises:
        DivergedError: if a training diverges.
    """
    bench = replace(bench, encoder=PoolEncoder(bench.encoder, items))
    count = len(folds.held)
    names = dataset.classnames
    runs = []
    for fold in range(count):
        train = tuple(items[place] for place in folds.learnt(fold))
        runs.append(Run(config, dataset, Task(train, tuple(val), names, ()), True, {}, Path(), "features"))
    tell(f"{config.label}: {count} trainings, each without a fold of the {len(items)} images ...")
    logits = np.full((len(items), len(names)), np.nan)
    for fold, learnt in enumerate(learn_together(runs, bench)):
        if isinstance(learnt.log, DivergedError):
            raise learnt.log
        method = learnt.method
        if val and "tune" in method.provides:
            method.tune(bench.feed(method).all_at_once(dataset, val, config))
        held = list(folds.held[fold])
        logits[held] = answers(method, dataset, [items[place] for place in held], bench)
    places = np.sort(folds.first(count))
    return HeldOut(places, np.array([items[place].label for place in places.tolist()]), logits[places], count)


def answers(method: AdaptedCLIP, dataset: FewShotDataset, items: Sequence[Item], bench: Bench) -> Floats:
    """Logits (N, C) of a method as it is, C its own classes.

    Raises:
        ValueError: if one is not finite.
    """
    images = EvalSet("images", dataset, tuple(items), method.classes.classnames)
    logits, _ = predict(method, bench.feed(method).test(images), bench.precision)
    if not np.isfinite(logits).all():
        raise ValueError(
            "a logit is not finite, so nothing can be said of its image; the adapter is damaged, or a training "
            "diverged: lower OPTIM.LR"
        )
    return logits
