"""The training loop: one, flat, for every method. It steps whatever has `requires_grad` and knows no method by name."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import torch
from torch import Tensor

from adaptkit.method import AdaptedCLIP, Support
from trainers.optim import OptimConfig, build_optimizer, set_learning_rate, step_learning_rate
from trainers.precision import Precision, autocast

CHECK_EVERY = 50  # steps between looks at the losses: each look waits for the device


@dataclass(frozen=True)
class Checkpoint:
    """What a method had learnt after so many epochs."""

    epochs: int
    state: dict[str, Tensor]


class DivergedError(ArithmeticError):
    """A loss that is not finite; the message says where and what to change, `last_good` is what to go back to."""

    def __init__(self, message: str, last_good: Checkpoint):
        super().__init__(message)
        self.last_good = last_good


class Batches(Protocol):
    """(x, labels), x being what the method consumes; every pass over them is one epoch."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class TrainLog:
    """What a training did."""

    steps: int
    losses: tuple[float, ...]  # mean loss of each epoch


def train(
    method: AdaptedCLIP,
    batches: Batches,
    optim: OptimConfig,
    support: Support | None = None,
    precision: Precision = "fp32",
    on_epoch: Callable[[int], None] | None = None,
) -> TrainLog:
    """Train a method's learnt tensors in place.

    Args:
        batches: such as a list of (x, labels), passed over once per epoch.
        support: all training items at once, for methods that build a cache from them.
        on_epoch: called with the number of epochs done.

    Raises:
        DivergedError: if a loss is not finite.
        ValueError: if there is no batch.
    """
    if support is not None:
        method.prepare(support)
    learnt = list(method.learnt_parameters().values())
    if not learnt or not (optim.epochs or optim.steps):
        return TrainLog(0, ())
    if not len(batches):
        raise ValueError("there is no batch to train on; `batches` must give some in every pass over it")
    device = method.backbone.device
    optimizer = build_optimizer(learnt, optim)
    method.train()
    step_count = optim.step_count(len(batches))
    steps, losses = 0, []
    last_good = Checkpoint(0, method.learnt_state())
    for epoch in range(optim.epoch_count(len(batches))):
        epoch_losses: list[Tensor] = []
        rates: list[float] = []
        for x, labels in islice(batches, step_count - steps):
            rates.append(step_learning_rate(optim, steps, epoch, step_count))
            set_learning_rate(optimizer, rates[-1])
            optimizer.zero_grad(set_to_none=True)
            with autocast(device, precision):
                loss = method.backward(x.to(device, non_blocking=True), labels.to(device, non_blocking=True))
            optimizer.step()
            epoch_losses.append(loss)
            steps += 1
            if steps % CHECK_EVERY == 0:
                _check_finite(epoch_losses, rates, steps, epoch, last_good)
        _check_finite(epoch_losses, rates, steps, epoch, last_good)
        losses.append(torch.stack(epoch_losses).mean().item())
        method.after_epoch(epoch)
        state = method.learnt_state()
        if all(tensor.isfinite().all() for tensor in state.values()):  # the last step may have broken what was learnt
            last_good = Checkpoint(epoch + 1, state)
        if on_epoch is not None:
            on_epoch(epoch + 1)
    method.eval()
    return TrainLog(steps, tuple(losses))


def _check_finite(
    epoch_losses: list[Tensor], rates: list[float], steps: int, epoch: int, last_good: Checkpoint
) -> None:
    for index, (value, lr) in enumerate(zip(torch.stack(epoch_losses).tolist(), rates, strict=True)):
        if not math.isfinite(value):
            step = steps - len(rates) + index
            raise DivergedError(
                f"the loss is {value} at step {step} (epoch {epoch}, learning rate {lr:g}), so nothing more is learnt; "
                "lower OPTIM.LR, or lengthen the warm-up with OPTIM.WARMUP_EPOCHS",
                last_good,
            )
