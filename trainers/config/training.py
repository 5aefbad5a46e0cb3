"""Settings of one training: how the learnt tensors are stepped, and how the training images vary."""

import dataclasses
import math
from typing import Literal

from adaptkit.options import option, options

Augment = Literal["exact", "pool", "none"]
PAPERS_MIN_AREA = 0.08  # The smallest area of the random crops in CoOp's training code.


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
    lr_scheduler: Literal["cosine", "constant", "cosine_steps", "single_step", "one_cycle"] = option(
        "cosine",
        "How the rate falls: along a cosine by epochs, not at all, along a cosine by steps, by a factor `gamma` "
        "after every `stepsize` epochs, or behind a rise to `lr` in the first 30 % of the epochs.",
    )
    stepsize: int = option(
        -1, "Epochs between two falls of single_step; 0 or less is the length of the training.", least=-1, added=True
    )
    gamma: float = option(0.1, "The factor of single_step on the rate.", above=0, added=True)
    min_lr: float = option(0.0, "The rate where cosine_steps ends.", least=0)
    warmup_epochs: int = option(1, "Epochs of warm-up of cosine and constant; 0 starts at `lr`.", least=0)
    warmup_type: Literal["constant", "linear"] = option("constant", "Whether the rate stays or rises in the warm-up.")
    warmup_cons_lr: float = option(1e-5, "The rate of a constant warm-up.", least=0)
    warmup_min_lr: float = option(1e-5, "The rate of epoch 0 in a linear warm-up.", least=0)
    warmup_share: float = option(0.0, "The share of all steps in a linear warm-up of cosine_steps.", least=0, below=1)
    clip_norm: float = option(0.0, "The largest norm of all gradients together; 0 does not clip them.", least=0)
    label_smoothing: float = option(
        0.0, "The share of every label that is spread over all classes.", least=0, below=1, added=True
    )
    warmup_recount: bool = option(
        True, "Count the cosine's epochs after the warm-up; otherwise its epochs count as epochs of the cosine."
    )

    def __post_init__(self) -> None:
        if not self.warmup_recount and self.warmup_epochs >= self.epochs > 0:
            raise ValueError(
                f"warmup_epochs={self.warmup_epochs} and epochs={self.epochs}; without warmup_recount no epoch is "
                "left for the cosine, lower warmup_epochs"
            )

    @property
    def takes_steps(self) -> bool:
        """Whether a method that has learnt tensors is stepped at all."""
        return bool(self.epochs or self.steps)

    def with_period(self, n_batches: int) -> "OptimConfig":
        """These settings for epochs of so many batches; where `epochs` is 0, a schedule falls over those of `steps`."""
        if self.epochs or self.lr_scheduler not in ("cosine", "single_step", "one_cycle"):
            return self
        return dataclasses.replace(self, epochs=self.epoch_count(n_batches))

    def epoch_count(self, n_batches: int) -> int:
        """Epochs of a training whose epochs have so many batches."""
        return math.ceil(self.steps / n_batches) if self.steps else self.epochs

    def step_count(self, n_batches: int) -> int:
        """Optimiser steps of a training whose epochs have so many batches."""
        return self.steps or self.epochs * n_batches


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
        """The views in words, as records and captions have them."""
        if self.augment == "none":
            return "the image as it is, no augmentation"
        crop = "" if self.min_area == PAPERS_MIN_AREA else f", crops of {self.min_area:.0%} of the area or more"
        if self.augment == "pool":
            return f"pool of {self.n_views} fixed random views per image (an approximation){crop}"
        return f"a new random view per image and epoch{crop}"
