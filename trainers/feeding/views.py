"""The order of training images in an epoch and the view of each, as pure functions of (seed, epoch, item).

Every view has its own seed, so it is the same tensor whether a loader draws it while a method trains on images, or it
is encoded in advance for a method that trains on features; neither the process nor the order of drawing matters.
"""

import torch
from torch import Tensor

from trainers.compute.seeds import derived_seed
from trainers.config.training import ViewConfig


def view_seed(seed: int, path: str, view: int) -> int:
    """The seed of one random view of one image."""
    return derived_seed("view", seed, path, view)


def epoch_order(count: int, views: ViewConfig, seed: int, epoch: int) -> tuple[Tensor, Tensor]:
    """One permutation of the N items, and for each place in it the view to show: (N,) and (N,) int64."""
    generator = torch.Generator().manual_seed(derived_seed("epoch", seed, epoch))
    order = torch.randperm(count, generator=generator)
    if views.augment == "pool":
        return order, torch.randint(views.n_views, (count,), generator=generator)
    return order, torch.full((count,), epoch if views.augment == "exact" else 0)


def batch_bounds(count: int, batch_size: int, drop_last: bool) -> list[tuple[int, int]]:
    """Start and end of each batch; `drop_last` drops a short last batch unless it is the only one."""
    bounds = [(start, min(start + batch_size, count)) for start in range(0, count, batch_size)]
    short = bool(count % batch_size)
    return bounds[:-1] if drop_last and short and len(bounds) > 1 else bounds
