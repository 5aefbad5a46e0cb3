"""The first half of a run: its method is made and trained, on its own or beside runs of the same kind."""

from collections.abc import Callable, Hashable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from adaptkit import AdaptedCLIP, Support, create_method
from adaptkit.artefacts.atomic_file import replacing
from adaptkit.contract.architecture import Architecture
from adaptkit.contract.creation import trained_by
from adaptkit.contract.objective import Trained
from trainers.compute.clock import Clock
from trainers.compute.seeds import RandomNumbers, derived_seed
from trainers.compute.team import ALONE
from trainers.config.settings import RunConfig, Wrap
from trainers.feeding.feeds import TrainingBatches
from trainers.runs.class_texts import read_classes
from trainers.runs.data import Bench
from trainers.runs.identity import Run
from trainers.runs.records import LAST_GOOD_FILE
from trainers.runs.search import find_architecture
from trainers.training.checkpoints import Checkpoints, discard_checkpoints
from trainers.training.few_shot import DivergedError, TrainLog, train
from trainers.training.replicas import train_replicas

Inputs = dict[Hashable, tuple[TrainingBatches, Support | None]]  # what was encoded for earlier runs, by what decides it


@dataclass(frozen=True)
class Begun:
    """A run before its first step."""

    run: Run
    method: AdaptedCLIP
    trainee: AdaptedCLIP  # the method, with the loss of its objectives
    architecture: Architecture | None  # of its skipped blocks
    batches: TrainingBatches | None  # None where nothing is trained
    support: Support | None
    numbers: RandomNumbers
    clock: Clock


def begin(run: Run, bench: Bench, inputs: Inputs | None = None) -> Begun:
    """Make a run's method with its own draws, and encode what it learns from.

    Args:
        inputs: is filled and used, so that runs that learn from the same images and views share what is encoded.
    """
    clock, numbers = Clock(), RandomNumbers(run_seed(run.config), bench.backbone.device)
    with numbers.in_use():
        config, make = run.config, partial(make_method, run, bench)
        with clock.phase("create"):
            method = make(config.wrap)
        architecture = None
        if method.search() is not None:
            with clock.phase("search"):
                architecture, wrap = find_architecture(make, config, run.dataset, run.task, bench)
            method = make(wrap)
        architecture = architecture or method.architecture()
        if not run.uses_training:
            return Begun(run, method, method, architecture, None, None, numbers, clock)
        with clock.phase("encode"):
            batches, support = _inputs(run, method, bench, {} if inputs is None else inputs)
        trainee = trained_by(method, config.objective)
        if isinstance(trainee, Trained) and trainee.objective.wants_examples:
            with clock.phase("encode"):
                batches.with_places = True
                new_names = run.task.new_names if trainee.objective.wants_new_names else ()
                trainee.see_examples(replace(bench.examples(run.dataset, run.task.train), new_names=new_names))
    return Begun(run, method, trainee, architecture, batches, support, numbers, clock)


def _inputs(run: Run, method: AdaptedCLIP, bench: Bench, known: Inputs) -> tuple[TrainingBatches, Support | None]:
    """The run's batches, and all of its images at once where the method asks for them."""
    config, items, feed = run.config, run.task.train, bench.feed(method)
    optim = config.optim
    key = items, config.seed, config.views, optim.epochs, optim.steps, optim.batch_size, optim.drop_last
    if key not in known:
        batches = feed.training(run.dataset, items, config)
        support = feed.support(method, run.dataset, items, config) if "prepare" in method.provides else None
        known[key] = batches, support
    batches, support = known[key]
    return copy(batches), support


def learn(begun: Begun, bench: Bench, on_epoch: Callable[[int], None] | None = None) -> TrainLog:
    """Train a run's method on its own, from its last checkpoint if there is one.

    Raises:
        DivergedError: if a loss is not finite; the last good tensors are kept then, and the message says where.
    """
    run = begun.run
    try:
        return _train(begun, bench, on_epoch, Checkpoints(run.folder, run.run_id, bench.checkpoint))
    except DivergedError as error:
        if run.processes > 1 and not bench.team.leads:
            raise
        raise _kept(error, run) from error


def learn_unkept(begun: Begun, bench: Bench) -> TrainLog | DivergedError:
    """Train a run's method on its own and write nothing, not even of a training that diverged."""
    try:
        return _train(begun, bench)
    except DivergedError as error:
        return error


def _train(
    begun: Begun,
    bench: Bench,
    on_epoch: Callable[[int], None] | None = None,
    checkpoints: Checkpoints | None = None,
) -> TrainLog:
    run = begun.run
    if begun.batches is None:
        return TrainLog(0, ())
    team, start = bench.team if run.processes > 1 else ALONE, bench.start_of(run.config)
    tensors = None if start is None else start.tensors
    with begun.numbers.in_use(), begun.clock.phase("train"):
        log = train(
            begun.trainee,
            begun.batches,
            run.config.optim,
            begun.support,
            bench.precision,
            on_epoch,
            checkpoints,
            team,
            tensors,
        )
    begun.clock.add("train", log.earlier_seconds)
    return log


def learn_side_by_side(
    group: Sequence[Begun], bench: Bench, on_epoch: Callable[[int], None] | None = None, *, keeps: bool = True
) -> list[TrainLog | DivergedError]:
    """Train runs of one kind, see `trainers.runs.replicas`, in one loop; each has an equal share of the time.

    Each goes on from its last checkpoint if there is one, and writes checkpoints as its own training would.

    Args:
        keeps: False writes nothing, neither checkpoints nor the last good tensors of a training that diverged.
    """
    clock = Clock()
    with clock.phase("train"):
        logs = train_replicas(
            [one.trainee for one in group],
            [one.batches for one in group if one.batches is not None],
            [one.run.config.optim for one in group],
            [one.support for one in group if one.support is not None],
            bench.precision,
            on_epoch,
            [Checkpoints(one.run.folder, one.run.run_id, bench.checkpoint, len(group)) for one in group if keeps],
            [one.numbers for one in group],
        )
    for one, log in zip(group, logs, strict=True):
        earlier = log.earlier_seconds if isinstance(log, TrainLog) else 0.0
        one.clock.add("train", clock.seconds["train"] / len(group) + earlier)
    if not keeps:
        return logs
    return [
        _kept(log, one.run) if isinstance(log, DivergedError) else log for one, log in zip(group, logs, strict=True)
    ]


def _kept(error: DivergedError, run: Run) -> DivergedError:
    """Keep the last good tensors of a training that diverged; returns the error that says where they are."""
    discard_checkpoints(run.folder)  # A restart from them could only diverge again.
    path = run.folder / LAST_GOOD_FILE
    save_tensors(error.last_good.state, path)
    config = run.config
    return DivergedError(
        f"{config.label} on {config.dataset}, seed {config.seed}: {error}; the last good checkpoint, after "
        f"{error.last_good.epochs} epochs, is {path}",
        error.last_good,
    )


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write tensors whole, or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}))


def make_method(run: Run, bench: Bench, wrap: Wrap) -> AdaptedCLIP:
    """The run's method with the given wrappers, before any training."""
    config, classes = run.config, read_classes(run.config, run.task.classnames, bench.backbone.tokenizer)
    return create_method(config.method, bench.backbone, classes, config.options, wrap=wrap).to(bench.backbone.device)


def run_seed(config: RunConfig) -> int:
    """The seed of all that a run draws."""
    return derived_seed("run", config.seed, config.protocol, config.dataset, config.method, config.shots)
