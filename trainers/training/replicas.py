"""The training loop for replicas: R trainings of one method, of other seeds, rates or decays, in one loop.

Each replica has its own start, batches and rates, and ends where `few_shot.train` of it alone ends, but for the
rounding of products that are computed together.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields
from itertools import islice

import torch

from adaptkit.contract.method import AdaptedCLIP, Support
from adaptkit.contract.replicas import Replicas, hand_back, side_by_side
from trainers.compute.precision import Precision, autocast
from trainers.compute.seeds import RandomNumbers
from trainers.compute.team import ALONE
from trainers.config.training import OptimConfig
from trainers.feeding.side_by_side import SideBySide
from trainers.training.checkpoints import Checkpoints, Snapshot
from trainers.training.few_shot import Batches, DivergedError, TrainLog, diverged, seek
from trainers.training.label_smoothing import smooth
from trainers.training.optim import optimizer_of, step_learning_rate
from trainers.training.replica_optim import ReplicaOptimizer, State, clip_norms
from trainers.training.state import LastGood, Progress, restore_snapshot, take_snapshot

# What may differ from replica to replica: the rate as a function of the step, and the decay.
OWN_SETTINGS = frozenset(
    {
        "lr",
        "weight_decay",
        "lr_scheduler",
        "stepsize",
        "gamma",
        "min_lr",
        "warmup_epochs",
        "warmup_type",
        "warmup_cons_lr",
        "warmup_min_lr",
        "warmup_share",
        "warmup_recount",
    }
)


def why_single(method: AdaptedCLIP) -> str | None:
    """Why replicas of a method cannot be trained together; None if they can."""
    name = method.spec.name if method.spec is not None else type(method).__name__
    if "backward_replicas" in method.provides:
        return None
    if method.trains_alone is not None:
        return f"{name} {method.trains_alone}"
    if method.spec is not None and method.spec.wrappers:
        return f"{name} has wrappers around it, which see one training at a time"
    if not method.learnt_parameters():
        return f"{name} takes no steps"
    if method.consumes == "images":
        return f"{name} runs the image tower in every step, which costs R times as much for R replicas"
    return f"{name} has no step for several replicas"


def train_replicas(
    methods: Sequence[AdaptedCLIP],
    batches: Sequence[Batches],
    optims: Sequence[OptimConfig],
    supports: Sequence[Support] = (),
    precision: Precision = "fp32",
    on_epoch: Callable[[int], None] | None = None,
    checkpoints: Sequence[Checkpoints] = (),
    numbers: Sequence[RandomNumbers] = (),
) -> list[TrainLog | DivergedError]:
    """Train R methods in place, side by side.

    A replica whose loss is not finite does not stop the others: in the place of its log is the error that its own
    training would raise.

    Args:
        methods: R methods of one kind, with the same options, classes and backbone.
        batches: for each, as `train` takes them.
        optims: for each; they may differ in `OWN_SETTINGS`.
        supports: for each, for methods that build a cache from them; none elsewhere.
        on_epoch: called with the number of finished epochs.
        checkpoints: for each, as `train` takes them and of the same form, so that a replica goes on in company or
            alone. Replicas that stopped at different steps go on in company of those that stopped at the same.
        numbers: for each, the random numbers that its own training would go on with.

    Raises:
        ValueError: if the method trains alone, or the methods, batches or settings do not go together.
    """
    _check(methods, batches, optims, {"supports": supports, "checkpoints": checkpoints, "numbers": numbers})
    optims = [optim.with_period(len(batches[0])) for optim in optims]
    for row, support in enumerate(supports):
        with numbers[row].in_use() if numbers else nullcontext():
            methods[row].prepare(support)
    if not optims[0].takes_steps:
        return [TrainLog(0, ())] * len(methods)
    if not len(batches[0]):
        raise ValueError("there is no batch to train on; `batches` must give some in every pass over it")
    none = [None] * len(methods)
    begun = [_begin(*one) for one in zip(methods, batches, optims, checkpoints or none, numbers or none, strict=True)]
    by_steps: dict[int, list[int]] = {}
    for row, one in enumerate(begun):
        by_steps.setdefault(one.progress.steps, []).append(row)
    logs: dict[int, TrainLog | DivergedError] = {}
    for rows in by_steps.values():
        logs |= zip(rows, _go_on([begun[row] for row in rows], precision, on_epoch), strict=True)
    return [logs[row] for row in range(len(methods))]


@dataclass(frozen=True)
class _Begun:
    """A replica before its first step, or where it stopped."""

    method: AdaptedCLIP
    batches: Batches
    optim: OptimConfig
    progress: Progress
    optimizer: State  # the state of its own optimiser
    checkpoints: Checkpoints | None
    numbers: RandomNumbers | None
    earlier_seconds: float

    def snapshot(self, state: State, progress: Progress) -> Snapshot:
        """What `train` would keep of it here; its learnt tensors are in its method."""
        optimizer = optimizer_of(self.method, self.optim)
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        assert self.numbers is not None
        with self.numbers.in_use():
            return take_snapshot(self.method, optimizer, progress, ALONE)


def _begin(
    method: AdaptedCLIP,
    batches: Batches,
    optim: OptimConfig,
    checkpoints: Checkpoints | None,
    numbers: RandomNumbers | None,
) -> _Begun:
    progress, seconds, optimizer = Progress(LastGood(0, method.learnt_state())), 0.0, optimizer_of(method, optim)
    method.train()
    if checkpoints is not None and numbers is not None and (snapshot := checkpoints.newest()) is not None:
        with numbers.in_use():
            progress, seconds = restore_snapshot(snapshot, method, optimizer, ALONE), checkpoints.seconds
        seek(batches, progress)
    state = optimizer.state_dict()["state"]
    return _Begun(method, batches, optim, progress, state, checkpoints, numbers, seconds)


def _go_on(
    begun: Sequence[_Begun], precision: Precision, on_epoch: Callable[[int], None] | None
) -> list[TrainLog | DivergedError]:
    """Train replicas that stand at the same step to their end."""
    methods, optims, first = [one.method for one in begun], [one.optim for one in begun], begun[0].method
    together, device, start = SideBySide([one.batches for one in begun]), first.backbone.device, begun[0].progress
    step_count, epoch_count = optims[0].step_count(len(together)), optims[0].epoch_count(len(together))
    stages = first.begin_training(step_count)
    replicas = side_by_side(methods)
    optimizer = ReplicaOptimizer(replicas.learnt, optims, first)
    optimizer.load_states([one.optimizer for one in begun])
    progress = _Progress(replicas, optims, [one.progress for one in begun], step_count, stages)
    for epoch in range(start.epoch, epoch_count):
        for x, labels in islice(together, step_count - progress.steps):
            x, labels = x.to(device, non_blocking=True), labels.to(device, non_blocking=True)
            if optims[0].label_smoothing:
                labels = smooth(labels, len(first.classes), optims[0].label_smoothing, first.backbone.dtype)
            with autocast(device, precision):
                progress.losses.append(first.backward_replicas(replicas, x, labels))
            if optims[0].clip_norm:
                clip_norms(replicas.learnt, optims[0].clip_norm)
            optimizer.step([step_learning_rate(optim, progress.steps, epoch, step_count, stages) for optim in optims])
            progress.steps += 1
            if any(one.checkpoints is not None and one.checkpoints.is_due(progress.steps) for one in begun):
                hand_back(replicas, methods)
                for row, (one, state) in enumerate(zip(begun, optimizer.states(), strict=True)):
                    if one.checkpoints is not None and row not in progress.errors:
                        one.checkpoints.save(one.snapshot(state, progress.of(row)))
        progress.end_epoch()
        if on_epoch is not None:
            on_epoch(epoch + 1)
        if len(progress.errors) == len(begun):
            break
    hand_back(replicas, methods)
    for method in methods:
        method.eval()
    return progress.logs([one.earlier_seconds for one in begun])


class _Progress:
    """The progress of replicas that stand at the same step, and for each the error that ended it."""

    def __init__(
        self,
        replicas: Replicas,
        optims: Sequence[OptimConfig],
        begun: Sequence[Progress],
        step_count: int,
        stages: Sequence[int],
    ):
        self.replicas, self.optims, self.step_count, self.stages = replicas, optims, step_count, stages
        self.steps, self.epoch = begun[0].steps, begun[0].epoch
        # (R,) of every step of the epoch under way
        self.losses = [torch.stack(losses) for losses in zip(*(one.epoch_losses for one in begun), strict=True)]
        self.means = [list(one.losses) for one in begun]  # of every earlier epoch, for each replica
        self.last_good = [one.last_good for one in begun]
        self.errors: dict[int, DivergedError] = {}

    def of(self, row: int) -> Progress:
        """The progress of one of them, in the epoch under way."""
        losses = [loss[row] for loss in self.losses]
        return Progress(self.last_good[row], self.steps, self.epoch, len(losses), losses, list(self.means[row]))

    def end_epoch(self) -> None:
        """Look at the losses of the epoch; a replica with one that is not finite has its error."""
        losses = torch.stack(self.losses)  # (steps, R)
        finite, start = losses.isfinite(), self.steps - len(losses)
        for row in (~finite.all(dim=0)).nonzero()[:, 0].tolist():
            index = int((~finite[:, row]).nonzero()[0])
            if row not in self.errors:
                self.errors[row] = diverged(
                    float(losses[index, row]),
                    start + index,
                    self.epoch,
                    step_learning_rate(self.optims[row], start + index, self.epoch, self.step_count, self.stages),
                    self.last_good[row],
                )
        for means, mean in zip(self.means, losses.mean(dim=0).tolist(), strict=True):
            means.append(mean)
        learnt = [tensor.detach().reshape(len(tensor), -1) for tensor in self.replicas.learnt.values()]
        whole = torch.stack([rows.isfinite().all(dim=1) for rows in learnt])  # (tensors, R)
        for row in whole.all(dim=0).nonzero()[:, 0].tolist():
            if row not in self.errors:
                state = {name: tensor[row].detach().clone() for name, tensor in self.replicas.learnt.items()}
                self.last_good[row] = LastGood(self.epoch + 1, state)
        self.losses.clear()
        self.epoch += 1

    def logs(self, earlier_seconds: Sequence[float]) -> list[TrainLog | DivergedError]:
        """The log of each replica, or its error."""
        return [
            self.errors.get(row) or TrainLog(self.steps, tuple(self.means[row]), seconds)
            for row, seconds in enumerate(earlier_seconds)
        ]


def _check(
    methods: Sequence[AdaptedCLIP],
    batches: Sequence[Batches],
    optims: Sequence[OptimConfig],
    others: Mapping[str, Sequence[object]],
) -> None:
    counts = {"batches": len(batches), "optims": len(optims)} | {name: len(own) for name, own in others.items() if own}
    if not methods or any(count != len(methods) for count in counts.values()):
        raise ValueError(f"{len(methods)} methods with {counts}; give one of each for every replica, and one at least")
    first = methods[0]
    if reason := why_single(first):
        raise ValueError(f"{reason}; train its replicas one by one")
    for method in methods[1:]:
        alike = (
            type(method) is type(first)
            and method.spec == first.spec
            and method.classes == first.classes
            and method.backbone.model is first.backbone.model
        )
        if not alike:
            raise ValueError(
                "replicas are methods of one kind with the same options, classes and backbone; make them alike, or "
                "train them one by one"
            )
    shared = {entry.name for entry in fields(OptimConfig)} - OWN_SETTINGS
    for name in sorted(shared):
        values = list(dict.fromkeys(getattr(optim, name) for optim in optims))
        if len(values) > 1:
            raise ValueError(
                f"OPTIM.{name.upper()} is {values} among replicas, which take their steps together; they may differ in "
                f"{', '.join(sorted(f'OPTIM.{own.upper()}' for own in OWN_SETTINGS))}"
            )
