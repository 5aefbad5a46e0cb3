"""Runs of one kind, which differ in seeds, rates or decays and learn side by side: in one loop, not one by one."""

import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields

from adaptkit import AdaptedCLIP
from trainers.config.training import OptimConfig
from trainers.runs.data import Bench
from trainers.runs.identity import Run
from trainers.runs.learning import Begun, Inputs, begin, learn_side_by_side, learn_unkept
from trainers.training.few_shot import DivergedError, TrainLog
from trainers.training.replicas import OWN_SETTINGS, why_single

OWN_IDENTITY = ("seed", "train", "val", "optim")  # what may differ in the identities of runs of one kind


@dataclass(frozen=True)
class Learnt:
    """What a run has learnt."""

    run: Run
    method: AdaptedCLIP
    log: TrainLog | DivergedError  # the error of a training that diverged


def kind_of(run: Run) -> Hashable:
    """What runs that learn side by side have in common; a run that learns alone has a kind of its own."""
    if run.alone is not None:
        return run.run_id
    config = run.config
    identity = {key: value for key, value in run.identity.items() if key not in OWN_IDENTITY}
    shared = sorted({entry.name for entry in fields(OptimConfig)} - OWN_SETTINGS)
    steps = tuple((name, getattr(config.optim, name)) for name in shared)
    images = len(run.task.train), run.task.classnames
    return json.dumps(identity, sort_keys=True), repr(config.options), steps, images


def learn_together(runs: Sequence[Run], bench: Bench) -> list[Learnt]:
    """Train runs that learn from images: each as `execute` trains it, those of one kind in one loop.

    Images are encoded once for all runs of a seed. Nothing is written and no test image is looked at.
    """
    inputs: Inputs = {}
    begun = [begin(run, bench, inputs) for run in runs]
    groups: dict[Hashable, list[int]] = {}
    for place, one in enumerate(begun):
        groups.setdefault(place if _is_alone(one) else _together(one.run), []).append(place)
    logs: dict[int, TrainLog | DivergedError] = {}
    for places in groups.values():
        logs |= zip(places, _learn([begun[place] for place in places], bench), strict=True)
    return [Learnt(one.run, one.method, logs[place]) for place, one in enumerate(begun)]


def _is_alone(one: Begun) -> bool:
    """Whether a run learns on its own; one that was not planned for a bench has not been asked before."""
    return one.run.alone is not None or why_single(one.trainee) is not None


def _together(run: Run) -> Hashable:
    """What runs of one loop have in common, also those that were made without an identity."""
    config = run.config
    return kind_of(run), config.method, config.dataset, repr((config.wrap, config.views)), config.shots


def _learn(group: Sequence[Begun], bench: Bench) -> list[TrainLog | DivergedError]:
    if not _is_alone(group[0]):
        return learn_side_by_side(group, bench, keeps=False)
    return [learn_unkept(one, bench) for one in group]
