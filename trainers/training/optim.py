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
from typing import Literal

import torch
from torch.nn import Parameter

from adaptkit.options import option, options


@options
class OptimConfig:
    """How the learnt tensors are stepped; the defaults are the papers' recipe."""

    name: Literal["sgd", "adam", "adamw"] = option("sgd", "The optimiser.")
    lr: float = option(0.002, "The learning rate after the warm-up.", above=0)
    momentum: float = option(0.9, "The momentum of sgd.", least=0)
    weight_decay: float = option(5e-4, "The decay of every learnt tensor, unless its method takes none.", least=0)
    adam_eps: float = option(1e-8, "The epsilon of adam and adamw.", least=0)
    epochs: int = option(200, "Passes over the training images.", least=0)
    steps: int = option(
        0,
        "Where it is not 0, train for so many steps, whatever `epochs` says; the last epoch may be cut.",
        least=0,
    )
    batch_size: int = option(32, "Images of a step.", least=1)
    drop_last: bool = option(True, "Drop a short last batch, unless it is the only one.")
    lr_scheduler: Literal["cosine", "constant", "cosine_steps"] = option(
        "cosine", "How the rate falls: along a cosine by epochs, not at all, or along a cosine by steps."
    )
    min_lr: float = option(0.0, "The rate where cosine_steps ends.", least=0)
    warmup_epochs: int = option(1, "Epochs of warm-up of cosine and constant; 0 starts at `lr`.", least=0)
    warmup_type: Literal["constant", "linear"] = option("constant", "Whether the rate stays or rises in the warm-up.")
    warmup_cons_lr: float = option(1e-5, "The rate of a constant warm-up.", least=0)
    warmup_min_lr: float = option(1e-5, "The rate of epoch 0 in a linear warm-up.", least=0)
    warmup_share: float = option(0.0, "The share of all steps in a linear warm-up of cosine_steps.", least=0, below=1)
    clip_norm: float = option(0.0, "The largest norm of all gradients together; 0 does not clip them.", least=0)
    warmup_recount: bool = option(
        True, "Count the cosine's epochs after the warm-up; otherwise its epochs count as epochs of the cosine."
    )

    def __post_init__(self) -> None:
        if not self.warmup_recount and self.warmup_epochs >= self.epochs > 0:
            raise ValueError(
                f"warmup_epochs={self.warmup_epochs} and epochs={self.epochs}; without warmup_recount no epoch is "
                "left for the cosine, lower warmup_epochs"
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
