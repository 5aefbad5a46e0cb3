"""Runs of one method on one data set that learn side by side, where the method offers it, and one by one elsewhere."""

from collections.abc import Hashable, Sequence
from copy import copy
from dataclasses import dataclass, fields

from adaptkit import AdaptedCLIP, Support
from trainers.compute.seeds import seeded
from trainers.config.training import OptimConfig
from trainers.runs.data import Bench
from trainers.runs.execute import make_method, run_seed
from trainers.runs.identity import Run
from trainers.training.few_shot import Batches, DivergedError, TrainLog, train
from trainers.training.replicas import OWN_SETTINGS, train_replicas, why_single


@dataclass(frozen=True)
class Learnt:
    """What a run has learnt."""

    run: Run
    method: AdaptedCLIP
    log: TrainLog | DivergedError  # the error of a training that diverged


@dataclass(frozen=True)
class _Begun:
    """A run before its first step."""

    run: Run
    method: AdaptedCLIP
    batches: Batches
    support: Support | None


def learn_together(runs: Sequence[Run], bench: Bench) -> list[Learnt]:
    """Train runs that learn from images: each as `execute` trains it, those that fit together in one loop.

    Images are encoded once for all runs of a seed. Nothing is written and no test image is looked at.
    """
    inputs: dict[Hashable, tuple[Batches, Support | None]] = {}
    begun = [_begin(run, bench, inputs) for run in runs]
    groups: dict[Hashable, list[int]] = {}
    for place, one in enumerate(begun):
        groups.setdefault(place if why_single(one.method) else _together(one), []).append(place)
    logs: dict[int, TrainLog | DivergedError] = {}
    for places in groups.values():
        logs |= zip(places, _train([begun[place] for place in places], bench), strict=True)
    return [Learnt(one.run, one.method, logs[place]) for place, one in enumerate(begun)]


def _begin(run: Run, bench: Bench, inputs: dict[Hashable, tuple[Batches, Support | None]]) -> _Begun:
    """Make a run's method with its own draws, and its batches from the images of its seed."""
    config, items = run.config, run.task.train
    with seeded(run_seed(config), bench.backbone.device):
        method = make_method(run, bench, config.wrap)
    feed, optim = bench.feed(method), config.optim
    key = items, config.seed, config.views, optim.epochs, optim.steps, optim.batch_size, optim.drop_last
    if key not in inputs:
        support = feed.support(method, run.dataset, items, config) if "prepare" in method.provides else None
        inputs[key] = feed.training(run.dataset, items, config), support
    batches, support = inputs[key]
    return _Begun(run, method, copy(batches), support)


def _together(one: _Begun) -> Hashable:
    """What the runs of one loop have in common."""
    shared = sorted({entry.name for entry in fields(OptimConfig)} - OWN_SETTINGS)
    config = one.run.config
    settings = tuple(getattr(config.optim, name) for name in shared)
    return repr(config.options), one.run.task.classnames, config.shots, len(one.run.task.train), config.views, settings


def _train(group: Sequence[_Begun], bench: Bench) -> list[TrainLog | DivergedError]:
    if why_single(group[0].method) is None:
        return train_replicas(
            [one.method for one in group],
            [one.batches for one in group],
            [one.run.config.optim for one in group],
            [one.support for one in group if one.support is not None],
            bench.precision,
        )
    return [_alone(one, bench) for one in group]


def _alone(one: _Begun, bench: Bench) -> TrainLog | DivergedError:
    with seeded(run_seed(one.run.config), bench.backbone.device):
        try:
            return train(one.method, one.batches, one.run.config.optim, one.support, bench.precision)
        except DivergedError as error:
            return error
