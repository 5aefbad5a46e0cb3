"""Optimisers and learning-rate schedules of the papers' training code (Dassl; Zhou et al., arXiv:2003.07325).

The rate is a function of the epoch, so nothing has to be stepped, saved or restored:
    epoch < w:  the warm-up's rate
    epoch >= w: LR / 2 * (1 + cos(pi * (epoch - w) / E))
with w warm-up epochs and E epochs in all. The cosine starts after the warm-up and keeps the period E, so it never ends
at 0. Behind the same warm-up, "single_step" is LR * gamma^floor((epoch - w) / stepsize). CLIP-LoRA and Tip-Adapter-F
count steps instead: "cosine_steps" goes from LR to `min_lr` over all the steps, behind a linear warm-up where
`warmup_share` asks for one. "one_cycle" is torch's OneCycleLR, stepped by epochs: along one cosine from LR / 25 to LR
in the first 30 % of the epochs, and along another from there to LR / 250000; it has no other warm-up.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch.nn import Parameter

from adaptkit.contract.adapted_towers import AdaptedTowers
from trainers.config.training import OptimConfig

ALIKE: Mapping[Parameter, float] = MappingProxyType({})
ParamGroups = list[dict[str, Any]]  # as torch's optimisers have them
RISING_SHARE, RISE, FALL = 0.3, 25, 1e4  # of one_cycle: torch's pct_start, div_factor and final_div_factor

__all__ = [
    "OptimConfig",
    "ParamGroups",
    "build_optimizer",
    "learning_rate",
    "optimizer_of",
    "set_group_rates",
    "set_learning_rate",
    "step_learning_rate",
]


def step_learning_rate(
    config: OptimConfig, step: int, epoch: int, step_count: int, stages: Sequence[int] = ()
) -> float:
    """Learning rate of one optimiser step; steps and epochs count from 0.

    Args:
        stages: the lengths of a training's stages, in each of which a schedule by steps falls anew; none is one stage.
    """
    for length in stages:
        if step < length:
            step_count = length
            break
        step -= length
    if config.lr_scheduler == "cosine_steps":
        warmup = math.ceil(config.warmup_share * step_count)
        if step < warmup:
            return config.lr * (step + 1) / warmup
        return config.min_lr + (config.lr - config.min_lr) * _half_cosine(step - warmup, step_count - warmup)
    return learning_rate(config, epoch)


def learning_rate(config: OptimConfig, epoch: int) -> float:
    """Learning rate of every step in an epoch, counted from 0, for the schedules by epochs."""
    warmup = config.warmup_epochs
    if config.lr_scheduler == "one_cycle":
        return _one_cycle(config, epoch)
    if epoch < warmup:
        if config.warmup_type == "constant":
            return config.warmup_cons_lr
        return config.lr * epoch / warmup if epoch else config.warmup_min_lr
    if config.lr_scheduler == "constant":
        return config.lr
    if config.lr_scheduler == "single_step":
        every = config.stepsize if config.stepsize > 0 else max(config.epochs, 1)
        falls = (epoch - warmup) // every if config.warmup_recount else epoch // every - warmup // every
        return config.lr * config.gamma**falls
    if config.warmup_recount:
        return config.lr * _half_cosine(epoch - warmup, config.epochs)
    # Without a recount the papers' scheduler applies the cosine's ratio from epoch to epoch, beginning with `lr` at
    # the warm-up's end; the product of those ratios is this quotient.
    return config.lr * _half_cosine(epoch, config.epochs) / _half_cosine(warmup, config.epochs)


def _one_cycle(config: OptimConfig, epoch: int) -> float:
    """The rate of torch's OneCycleLR with `epochs` steps in all."""
    lowest, highest, last = config.lr / RISE, config.lr, config.lr / RISE / FALL
    top = RISING_SHARE * config.epochs - 1  # the epoch of the highest rate, as torch counts it
    if epoch <= top:
        return highest + (lowest - highest) * _half_cosine(epoch, top) if top > 0 else highest
    return last + (highest - last) * _half_cosine(epoch - top, config.epochs - 1 - top)


def _half_cosine(epoch: float, period: float) -> float:
    return (1 + math.cos(math.pi * epoch / period)) / 2


def optimizer_of(method: AdaptedTowers, config: OptimConfig) -> torch.optim.Optimizer:
    """The optimiser over a method's learnt tensors, with the decays and shares of the rate that the method asks for.

    Raises:
        ValueError: if there is nothing to learn.
    """
    named, undecayed = method.learnt_parameters(), method.undecayed()
    shares = {named[name]: share for name, share in method.rate_shares().items()}
    return build_optimizer(named.values(), config, [named[name] for name in named if name in undecayed], shares)


def build_optimizer(
    parameters: Iterable[Parameter],
    config: OptimConfig,
    undecayed: Iterable[Parameter] = (),
    shares: Mapping[Parameter, float] = ALIKE,
) -> torch.optim.Optimizer:
    """The optimiser over the learnt tensors; `set_learning_rate` sets the rate of every step.

    Args:
        undecayed: the learnt tensors without weight decay.
        shares: of the rate, for learnt tensors that do not take all of it.

    Raises:
        ValueError: if there is nothing to learn.
    """
    learnt, spared = list(parameters), {id(parameter) for parameter in undecayed}
    if not learnt:
        raise ValueError("the method has no learnt tensor to optimise; evaluate it without training")
    members: dict[tuple[bool, float], list[Parameter]] = {}
    for parameter in learnt:
        members.setdefault((id(parameter) in spared, shares.get(parameter, 1.0)), []).append(parameter)
    groups: list[dict[str, object]] = [
        {
            "params": group,
            "weight_decay": 0.0 if is_spared else config.weight_decay,
            "share": share,
            "lr": share * config.lr,
        }
        for (is_spared, share), group in sorted(members.items(), key=lambda item: item[0][0])
    ]
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum)
    if config.name == "adam":
        return torch.optim.Adam(groups, lr=config.lr, eps=config.adam_eps)
    return torch.optim.AdamW(groups, lr=config.lr, eps=config.adam_eps)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every parameter group; one with a `share` takes so much of it."""
    set_group_rates(optimizer.param_groups, lr)


def set_group_rates(groups: ParamGroups, lr: float) -> None:
    """Set the learning rate of parameter groups; one with a `share` takes so much of it."""
    for group in groups:
        group["lr"] = lr * group.get("share", 1.0)
