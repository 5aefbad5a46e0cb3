"""Epochs over cached features, for heads that are trained outside the bench: the rate falls along a cosine to 0."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor


def trained_epochs(
    optimizer: torch.optim.Optimizer,
    count: int,
    batch_size: int,
    epochs: int,
    generator: torch.Generator,
    loss_of: Callable[[Tensor], Tensor],
) -> Iterator[float]:
    """Train epoch by epoch; gives the mean loss of each when it is over.

    Args:
        optimizer: its rates are those of the first epoch.
        count: examples, which are shuffled by `generator` in every epoch.
        loss_of: places (B,) of examples -> their loss, a scalar.

    Raises:
        ArithmeticError: if the loss of an epoch is not finite.
    """
    rates = [group["lr"] for group in optimizer.param_groups]
    for epoch in range(epochs):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * (1 + math.cos(math.pi * epoch / epochs)) / 2
        steps = []
        for places in torch.randperm(count, generator=generator).split(batch_size):
            loss = loss_of(places)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps.append(loss.detach())
        mean = float(torch.stack(steps).mean())
        if not math.isfinite(mean):
            raise ArithmeticError(f"the loss is {mean} in epoch {epoch + 1}; lower the learning rate")
        yield mean
