"""The training loop on image-text pairs: steps, checkpoints, and what is told after each epoch."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import torch

from adaptkit.contract.batches import PairBatch
from adaptkit.contract.pair_objective import PairObjective, TrainedOnPairs
from trainers.compute.seeds import derived_seed
from trainers.config.training import OptimConfig
from trainers.pairs.cached_gradients import Pieces, backward_in_pieces
from trainers.training.checkpoints import Checkpoints
from trainers.training.few_shot import CHECK_EVERY
from trainers.training.optim import optimizer_of, set_learning_rate, step_learning_rate
from trainers.training.state import LastGood, Progress, restore_snapshot, take_snapshot


class EpochsOfPairs(Protocol):
    """Batches of pairs in epochs that can begin anywhere."""

    def __len__(self) -> int: ...  # batches of an epoch

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[PairBatch]: ...  # without the first `skip`


@dataclass(frozen=True)
class PairTraining:
    """What a training on pairs does in every step.

    Args:
        optim: steps and rates; a batch is `optim.batch_size` pairs.
        pieces: how a batch is cut; its seed is that of the whole training.
    """

    optim: OptimConfig
    pieces: Pieces


def train_on_pairs(
    method: TrainedOnPairs,
    batches: EpochsOfPairs,
    training: PairTraining,
    checkpoints: Checkpoints | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
) -> tuple[float, ...]:
    """Train a method's learnt tensors in place, and return the mean loss of each epoch.

    Args:
        checkpoints: where the training is written down, and begins if it was interrupted.
        on_epoch: called with the number of finished epochs and the mean loss of the last one.

    Raises:
        ArithmeticError: if the loss is not finite.
    """
    objective, team = method.objective, training.pieces.team
    assert isinstance(objective, PairObjective)
    optim = training.optim.with_period(len(batches))
    learnt, optimizer = list(method.learnt_parameters().values()), optimizer_of(method, optim)
    method.train()
    step_count = optim.step_count(len(batches))
    progress = Progress(LastGood(0, {}))
    if checkpoints is not None and (snapshot := checkpoints.newest()) is not None:
        progress = restore_snapshot(snapshot, method, optimizer, team)
    for epoch in range(progress.epoch, optim.epoch_count(len(batches))):
        for batch in batches.epoch(epoch, skip=progress.batch):
            if progress.steps == step_count:
                break
            set_learning_rate(optimizer, step_learning_rate(optim, progress.steps, epoch, step_count))
            optimizer.zero_grad(set_to_none=True)
            pieces = replace(training.pieces, seed=derived_seed("step", training.pieces.seed, progress.steps))
            loss = backward_in_pieces(method.inner, objective, batch.to(method.device), pieces)
            if optim.clip_norm:
                torch.nn.utils.clip_grad_norm_(learnt, optim.clip_norm)
            optimizer.step()
            progress.epoch_losses.append(loss)
            progress.steps, progress.batch = progress.steps + 1, progress.batch + 1
            is_due = checkpoints is not None and team.agree(checkpoints.is_due(progress.steps))
            if is_due or progress.steps % CHECK_EVERY == 0:
                _check_finite(progress, optim)
            if checkpoints is not None and is_due:
                taken = take_snapshot(method, optimizer, progress, team)
                if team.leads:
                    checkpoints.save(taken)
        _check_finite(progress, optim)
        progress.losses.append(float(torch.stack(progress.epoch_losses).mean()))
        progress.epoch, progress.batch, progress.epoch_losses = epoch + 1, 0, []
        method.after_epoch(epoch)
        if on_epoch is not None:
            on_epoch(epoch + 1, progress.losses[-1])
            method.train()
    method.eval()
    return tuple(progress.losses)


def _check_finite(progress: Progress, optim: OptimConfig) -> None:
    """Look at the losses of the epoch under way, which waits for the device."""
    for index, value in enumerate(torch.stack(progress.epoch_losses).tolist(), start=1):
        if not math.isfinite(value):
            step = progress.steps - len(progress.epoch_losses) + index
            raise ArithmeticError(
                f"the loss is {value} in step {step}; lower OPTIM.LR (now {optim.lr:g}), or set OPTIM.CLIP_NORM 1"
            )
