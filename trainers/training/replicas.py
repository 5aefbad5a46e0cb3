"""The training loop for replicas: R trainings of one method, of other seeds, rates or decays, in one loop.

Each replica has its own start, batches and rates, and ends where `few_shot.train` of it alone ends, but for the
rounding of products that are computed together.
"""

from collections.abc import Sequence
from dataclasses import fields
from itertools import islice

import torch
from torch import Tensor

from adaptkit.contract.method import AdaptedCLIP, Support
from adaptkit.contract.replicas import Replicas, hand_back, side_by_side
from trainers.compute.precision import Precision, autocast
from trainers.config.training import OptimConfig
from trainers.feeding.side_by_side import SideBySide
from trainers.training.few_shot import Batches, DivergedError, TrainLog
from trainers.training.label_smoothing import smooth
from trainers.training.optim import step_learning_rate
from trainers.training.replica_optim import ReplicaOptimizer, clip_norms
from trainers.training.state import LastGood

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
) -> list[TrainLog | DivergedError]:
    """Train R methods in place, side by side.

    A replica whose loss is not finite does not stop the others: in the place of its log is the error that its own
    training would raise.

    Args:
        methods: R methods of one kind, with the same options, classes and backbone.
        batches: for each, as `train` takes them.
        optims: for each; they may differ in `OWN_SETTINGS`.
        supports: for each, for methods that build a cache from them; none elsewhere.

    Raises:
        ValueError: if the method trains alone, or the methods, batches or settings do not go together.
    """
    _check(methods, batches, optims, supports)
    for method, support in zip(methods, supports, strict=False):
        method.prepare(support)
    first, optims = methods[0], [optim.with_period(len(batches[0])) for optim in optims]
    if not optims[0].takes_steps:
        return [TrainLog(0, ())] * len(methods)
    together = SideBySide(batches)
    if not len(together):
        raise ValueError("there is no batch to train on; `batches` must give some in every pass over it")
    device, step_count, epoch_count = (
        first.backbone.device,
        optims[0].step_count(len(together)),
        optims[0].epoch_count(len(together)),
    )
    stages = first.begin_training(step_count)
    replicas = side_by_side(methods)
    optimizer = ReplicaOptimizer(replicas.learnt, optims, first)
    first.train()
    progress = _Progress(replicas, optims)
    for epoch in range(epoch_count):
        for x, labels in islice(together, step_count - progress.steps):
            x, labels = x.to(device, non_blocking=True), labels.to(device, non_blocking=True)
            if optims[0].label_smoothing:
                labels = smooth(labels, len(first.classes), optims[0].label_smoothing, first.backbone.dtype)
            with autocast(device, precision):
                progress.losses.append(first.backward_replicas(replicas, x, labels))
            if optims[0].clip_norm:
                clip_norms(replicas.learnt, optims[0].clip_norm)
            rates = [step_learning_rate(optim, progress.steps, epoch, step_count, stages) for optim in optims]
            optimizer.step(rates)
            progress.rates.append(rates)
            progress.steps += 1
        progress.end_epoch(epoch)
    hand_back(replicas, methods)
    first.eval()
    return progress.logs()


class _Progress:
    """Losses so far, and for each replica its last good tensors and the error that ended it."""

    def __init__(self, replicas: Replicas, optims: Sequence[OptimConfig]):
        self.replicas, self.optims, self.steps = replicas, optims, 0
        self.losses: list[Tensor] = []  # (R,) of every step of the epoch under way
        self.rates: list[list[float]] = []  # R of every step of the epoch under way
        self.means: list[list[float]] = []  # R of every earlier epoch
        self.last_good = [LastGood(0, self._state(row)) for row in range(len(optims))]
        self.errors: dict[int, DivergedError] = {}

    def _state(self, row: int) -> dict[str, Tensor]:
        return {name: tensor[row].detach().clone() for name, tensor in self.replicas.learnt.items()}

    def end_epoch(self, epoch: int) -> None:
        """Look at the losses of the epoch; a replica with one that is not finite has its error."""
        losses = torch.stack(self.losses)  # (steps, R)
        finite, start = losses.isfinite(), self.steps - len(losses)
        for row in (~finite.all(dim=0)).nonzero()[:, 0].tolist():
            index = int((~finite[:, row]).nonzero()[0])
            value, lr = float(losses[index, row]), self.rates[index][row]
            if row not in self.errors:
                self.errors[row] = DivergedError(
                    f"the loss is {value} at step {start + index} (epoch {epoch}, learning rate {lr:g}), so nothing "
                    "more is learnt; lower OPTIM.LR, or lengthen the warm-up with OPTIM.WARMUP_EPOCHS",
                    self.last_good[row],
                )
        self.means.append(losses.mean(dim=0).tolist())
        whole = torch.stack([t.detach().flatten(1).isfinite().all(dim=1) for t in self.replicas.learnt.values()])
        for row in whole.all(dim=0).nonzero()[:, 0].tolist():
            if row not in self.errors:
                self.last_good[row] = LastGood(epoch + 1, self._state(row))
        self.losses.clear()
        self.rates.clear()

    def logs(self) -> list[TrainLog | DivergedError]:
        """The log of each replica, or its error."""
        return [
            self.errors.get(row) or TrainLog(self.steps, tuple(means[row] for means in self.means))
            for row in range(len(self.optims))
        ]


def _check(
    methods: Sequence[AdaptedCLIP],
    batches: Sequence[Batches],
    optims: Sequence[OptimConfig],
    supports: Sequence[Support],
) -> None:
    counts = {"batches": len(batches), "optims": len(optims)} | ({"supports": len(supports)} if supports else {})
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
            and method.backbone is first.backbone
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
