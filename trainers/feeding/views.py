"""The order of training images in an epoch and the view of each, as pure functions of (seed, epoch, item).

Every view has its own seed, so it is the same tensor whether a loader draws it while a method trains on images, or it
is encoded in advance for a method that trains on features; neither the process nor the order of drawing matters.
"""

from typing import Literal

import torch
from torch import Tensor

from adaptkit.options import option, options
from trainers.compute.seeds import derived_seed

Augment = Literal["exact", "pool", "none"]
PAPERS_MIN_AREA = 0.08  # smallest area of the random crops in CoOp's training code


@options
class ViewConfig:
    """How training images vary from epoch to epoch."""

    augment: Augment = option(
        "exact",
        "A new random view in every epoch, as the papers do; pool draws from `n_views` fixed random views of each "
        "image, an approximation; none shows the image as a test image is shown.",
    )
    n_views: int = option(10, 'Fixed random views of each image, read by "pool".', least=1)
    min_area: float = option(
        PAPERS_MIN_AREA, "The smallest crop of a random view, as a share of the image's area.", above=0, most=1
    )

    def count(self, epochs: int) -> int:
        """How many different views of an image a training of so many epochs can show: V."""
        return {"exact": max(epochs, 1), "pool": self.n_views, "none": 1}[self.augment]

    def describe(self) -> str:
        """For records and captions."""
        if self.augment == "none":
            return "the image as it is, no augmentation"
        crop = "" if self.min_area == PAPERS_MIN_AREA else f", crops of {self.min_area:.0%} of the area or more"
        if self.augment == "pool":
            return f"pool of {self.n_views} fixed random views per image (an approximation){crop}"
        return f"a new random view per image and epoch{crop}"


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
