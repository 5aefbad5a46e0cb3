"""Optimisers and learning-rate schedules of the papers' training code (Dassl; Zhou et al., arXiv:2003.07325).

The rate is a function of the epoch, so nothing has to be stepped, saved or restored:
    epoch < w:  the warm-up's rate
    epoch >= w: LR / 2 * (1 + cos(pi * (epoch - w) / E))
with w warm-up epochs and E epochs in all. The cosine starts after the warm-up and keeps the period E, so it never ends
at 0. CLIP-LoRA and Tip-Adapter-F count steps instead: "cosine_steps" goes from LR to `min_lr` over all the steps,
behind a linear warm-up where `warmup_share` asks for one.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import Parameter


@dataclass(frozen=True)
class OptimConfig:
    """How the learnt tensors are stepped; the defaults are the papers' recipe."""

    name: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: float = 0.002  # the rate after the warm-up
    momentum: float = 0.9  # read by sgd
    weight_decay: float = 5e-4  # on every learnt tensor, unless its method takes none
    adam_eps: float = 1e-8  # read by adam and adamw
    epochs: int = 200
    steps: int = 0  # where not 0: train for so many steps, whatever `epochs` says; the last epoch may be cut
    batch_size: int = 32
    drop_last: bool = True  # drop a short last batch, unless it is the only one
    lr_scheduler: Literal["cosine", "constant", "cosine_steps"] = "cosine"
    min_lr: float = 0.0  # where cosine_steps ends
    warmup_epochs: int = 1  # of cosine and constant; 0 starts at `lr`
    warmup_type: Literal["constant", "linear"] = "constant"
    warmup_cons_lr: float = 1e-5  # the rate of a constant warm-up
    warmup_min_lr: float = 1e-5  # the rate of epoch 0 in a linear warm-up
    warmup_share: float = 0.0  # of all steps, in a linear warm-up of cosine_steps
    clip_norm: float = 0.0  # largest norm of all gradients together; 0: they are not clipped
    warmup_recount: bool = True  # False: the warm-up's epochs count as epochs of the cosine

    def __post_init__(self) -> None:
        for name in ("lr", "batch_size"):
            if not getattr(self, name) > 0:
                raise ValueError(f"optim.{name} is {getattr(self, name)}; expected more than 0")
        for name in (
            "momentum",
            "weight_decay",
            "adam_eps",
            "epochs",
            "steps",
            "min_lr",
            "warmup_epochs",
            "warmup_cons_lr",
            "warmup_min_lr",
            "warmup_share",
            "clip_norm",
        ):
            if not getattr(self, name) >= 0:
                raise ValueError(f"optim.{name} is {getattr(self, name)}; expected 0 or more")
        if self.warmup_share >= 1:
            raise ValueError(f"optim.warmup_share is {self.warmup_share}; expected a share of the steps below 1")
        if not self.warmup_recount and self.warmup_epochs >= self.epochs > 0:
            raise ValueError(
                f"optim.warmup_epochs is {self.warmup_epochs} and optim.epochs is {self.epochs}: without "
                "warmup_recount no epoch is left for the cosine; lower warmup_epochs"
            )

    def epoch_count(self, n_batches: int) -> int:
        """Epochs of a training whose epochs have so many batches."""
        return math.ceil(self.steps / n_batches) if self.steps else self.epochs

    def step_count(self, n_batches: int) -> int:
        """Optimiser steps of a training whose epochs have so many batches."""
        return self.steps or self.epochs * n_batches


def step_learning_rate(config: OptimConfig, step: int, epoch: int, step_count: int) -> float:
    """Learning rate of one optimiser step; steps and epochs count from 0."""
    if config.lr_scheduler == "cosine_steps":
        warmup = math.ceil(config.warmup_share * step_count)
        if step < warmup:
            return config.lr * (step + 1) / warmup
        return config.min_lr + (config.lr - config.min_lr) * _half_cosine(step - warmup, step_count - warmup)
    return learning_rate(config, epoch)


def learning_rate(config: OptimConfig, epoch: int) -> float:
    """Learning rate of every step in an epoch, counted from 0, for the schedules by epochs."""
    warmup = config.warmup_epochs
    if epoch < warmup:
        if config.warmup_type == "constant":
            return config.warmup_cons_lr
        return config.lr * epoch / warmup if epoch else config.warmup_min_lr
    if config.lr_scheduler == "constant":
        return config.lr
    if config.warmup_recount:
        return config.lr * _half_cosine(epoch - warmup, config.epochs)
    # Without a recount the papers' scheduler applies the cosine's ratio from epoch to epoch, beginning with `lr` at
    # the warm-up's end; the product of those ratios is this quotient.
    return config.lr * _half_cosine(epoch, config.epochs) / _half_cosine(warmup, config.epochs)


def _half_cosine(epoch: int, period: int) -> float:
    return (1 + math.cos(math.pi * epoch / period)) / 2


def build_optimizer(
    parameters: Iterable[Parameter], config: OptimConfig, undecayed: Iterable[Parameter] = ()
) -> torch.optim.Optimizer:
    """The optimiser over the learnt tensors; `set_learning_rate` sets the rate of every step.

    Args:
        undecayed: the learnt tensors without weight decay.

    Raises:
        ValueError: if there is nothing to learn.
    """
    learnt, spared = list(parameters), {id(parameter) for parameter in undecayed}
    if not learnt:
        raise ValueError("the method has no learnt tensor to optimise; evaluate it without training")
    decayed = [parameter for parameter in learnt if id(parameter) not in spared]
    others = [parameter for parameter in learnt if id(parameter) in spared]
    groups: list[dict[str, object]] = [
        {"params": group, "weight_decay": decay}
        for group, decay in ((decayed, config.weight_decay), (others, 0.0))
        if group
    ]
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum)
    if config.name == "adam":
        return torch.optim.Adam(groups, lr=config.lr, eps=config.adam_eps)
    return torch.optim.AdamW(groups, lr=config.lr, eps=config.adam_eps)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = lr
