"""The training loop: one, flat, for every method. It steps whatever has `requires_grad` and knows no method by name."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from adaptkit.contract.method import AdaptedCLIP, Support
from adaptkit.contract.objective import Trained
from trainers.compute.precision import Precision, autocast
from trainers.compute.team import ALONE, Team
from trainers.config.training import OptimConfig
from trainers.training.checkpoints import Checkpoints
from trainers.training.label_smoothing import smooth
from trainers.training.optim import optimizer_of, set_learning_rate, step_learning_rate
from trainers.training.state import LastGood, Progress, restore_snapshot, take_snapshot

CHECK_EVERY = 50  # Steps between looks at the losses; each look waits for the device.


class DivergedError(ArithmeticError):
    """Error for a loss that is not finite; the message says where and what to change, `last_good` is the way back."""

    def __init__(self, message: str, last_good: LastGood):
        super().__init__(message)
        self.last_good = last_good


class Batches(Protocol):
    """Pairs (x, labels), with x as the method consumes it; every pass over them is one epoch.

    For objectives that ask for examples they are (x, labels, places), with places (B,) int64 among the examples.
    """

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]: ...

    def __len__(self) -> int: ...


@runtime_checkable
class SeekableBatches(Batches, Protocol):
    """Batches that can begin anywhere, as resuming from a checkpoint needs."""

    def seek(self, epoch: int, batch: int) -> None:
        """Let the next pass begin at the given batch of the given epoch."""


@dataclass(frozen=True)
class TrainLog:
    """Results of a training."""

    steps: int
    losses: tuple[float, ...]  # Mean loss of each epoch.
    earlier_seconds: float = 0.0  # Seconds before an interruption.


def train(
    method: AdaptedCLIP,
    batches: Batches,
    optim: OptimConfig,
    support: Support | None = None,
    precision: Precision = "fp32",
    on_epoch: Callable[[int], None] | None = None,
    checkpoints: Checkpoints | None = None,
    team: Team = ALONE,
    start: Mapping[str, Tensor] | None = None,
    optimizer: torch.optim.Optimizer | None = None,
) -> TrainLog:
    """Train a method's learnt tensors in place.

    Args:
        batches: pairs (x, labels), passed over once per epoch; a list will do.
        support: all training items at once, for methods that build a cache from them.
        on_epoch: called with the number of finished epochs.
        checkpoints: store of the training, and its start after an interruption; then the batches have to be
            `SeekableBatches`, and the method has to be made and prepared as the first time.
        team: the processes that train together, each with its share of every batch; the leader writes checkpoints.
        start: the `learnt_state` of a method made alike, from which training starts.
        optimizer: over all learnt tensors; None makes the one that `optim` names. Its rates are those of `optim`.

    Raises:
        DivergedError: if a loss is not finite.
        ValueError: if there are no batches, they cannot begin where a checkpoint ends, processes cannot share the
            method's training, or `start` is another method's.
    """
    if support is not None:
        method.prepare(support)
    if start is not None:
        method.load_learnt_state({name: tensor.to(method.device) for name, tensor in start.items()})
    if not method.learnt_parameters() or not optim.takes_steps:
        return TrainLog(0, ())
    if not len(batches):
        raise ValueError("there is no batch to train on; `batches` must give some in every pass over it")
    device, optim = method.backbone.device, optim.with_period(len(batches))
    step_count = optim.step_count(len(batches))
    stages = method.begin_training(step_count)
    learnt = list(method.learnt_parameters().values())
    if optimizer is None:
        optimizer = optimizer_of(method, optim)
    method.train()
    team.own_random_numbers()
    rests = isinstance(method, Trained) and method.objective.leaves_idle
    trainee = team.trainee(method, idle_tensors=rests or len(stages) > 1)
    progress = Progress(LastGood(0, method.learnt_state()))
    earlier_seconds = 0.0
    if checkpoints is not None and (snapshot := checkpoints.newest()) is not None:
        progress, earlier_seconds = restore_snapshot(snapshot, method, optimizer, team), checkpoints.seconds
        seek(batches, progress)
    for epoch in range(progress.epoch, optim.epoch_count(len(batches))):
        for x, labels, *places in islice(batches, step_count - progress.steps):
            set_learning_rate(optimizer, step_learning_rate(optim, progress.steps, epoch, step_count, stages))
            method.before_step(progress.steps)
            optimizer.zero_grad(set_to_none=True)
            x, labels = x.to(device, non_blocking=True), labels.to(device, non_blocking=True)
            if optim.label_smoothing:
                labels = smooth(labels, len(method.classes), optim.label_smoothing, method.backbone.dtype)
            with autocast(device, precision):
                loss = trainee.backward(x, labels, *(place.to(device) for place in places))
            if optim.clip_norm:
                torch.nn.utils.clip_grad_norm_(learnt, optim.clip_norm)
            optimizer.step()
            progress.epoch_losses.append(loss)
            progress.steps, progress.batch = progress.steps + 1, progress.batch + 1
            if progress.steps % CHECK_EVERY == 0:
                _check_finite(progress, optim, stages)
            if checkpoints is not None and team.agree(checkpoints.is_due(progress.steps)):
                snapshot = take_snapshot(method, optimizer, progress, team)
                if team.leads:
                    checkpoints.save(snapshot)
        _check_finite(progress, optim, stages)
        method.after_epoch(epoch)
        _end_epoch(progress, method.learnt_state())
        if on_epoch is not None:
            on_epoch(epoch + 1)
    method.eval()
    return TrainLog(progress.steps, tuple(progress.losses), earlier_seconds)


def seek(batches: Batches, progress: Progress) -> None:
    """Let batches begin where a training stopped.

    Raises:
        ValueError: if they cannot.
    """
    if not isinstance(batches, SeekableBatches):
        raise ValueError(f"a {type(batches).__name__} of batches has no `seek`, so no checkpoint can be gone on from")
    batches.seek(progress.epoch, progress.batch)


def _end_epoch(progress: Progress, learnt: dict[str, Tensor]) -> None:
    progress.losses.append(torch.stack(progress.epoch_losses).mean().item())
    progress.epoch_losses.clear()
    progress.epoch, progress.batch = progress.epoch + 1, 0
    if all(tensor.isfinite().all() for tensor in learnt.values()):  # The last step may have broken the tensors.
        progress.last_good = LastGood(progress.epoch, learnt)


def _check_finite(progress: Progress, optim: OptimConfig, stages: Sequence[int]) -> None:
    for index, value in enumerate(torch.stack(progress.epoch_losses).tolist()):
        if not math.isfinite(value):
            step = progress.steps - len(progress.epoch_losses) + index
            lr = step_learning_rate(optim, step, progress.epoch, sum(stages), stages)
            raise diverged(value, step, progress.epoch, lr, progress.last_good)


def diverged(loss: float, step: int, epoch: int, lr: float, last_good: LastGood) -> DivergedError:
    """The error of a training whose loss is not finite."""
    return DivergedError(
        f"the loss is {loss} at step {step} (epoch {epoch}, learning rate {lr:g}), so nothing more is learnt; lower "
        "OPTIM.LR, or lengthen the warm-up with OPTIM.WARMUP_EPOCHS",
        last_good,
    )
