"""The training recipes of Li et al., arXiv:2307.03135 (released code 8715681): one for ResNets, one for transformers.

Departure: the released code passes over small data several times within an epoch; here each pass is an epoch of its
own, and the schedule is stretched by as much.
Departure: "OneCycle" is the rate alone; torch's scheduler also moves the momentum.
"""

from dataclasses import dataclass, replace
from typing import Literal

from trainers.config.training import OptimConfig
from trainers.training.optim import RISING_SHARE

Family = Literal["resnet", "vit"]
Stage = Literal["train", "few_shot"]

REPEATS = {("resnet", "small"): 5, ("resnet", "large"): 1, ("vit", "small"): 5, ("vit", "large"): 3}
SMALL = 10_000  # training images; Flowers, Cars and Birds have fewer, Food, SUN and tiered-ImageNet more
FEW_EPOCHS = 10
FEW_SHOT_REPEATS = {"resnet": 1, "vit": 3}

_TRAIN: dict[Family, OptimConfig] = {
    "resnet": OptimConfig(
        name="sgd",
        lr=0.05,
        momentum=0.9,
        weight_decay=1e-4,
        epochs=90,
        batch_size=128,
        lr_scheduler="single_step",
        stepsize=30,
        gamma=0.1,
        warmup_epochs=0,
    ),
    "vit": OptimConfig(
        name="adamw",
        lr=1e-4,
        weight_decay=0.01,
        epochs=90,
        batch_size=128,
        lr_scheduler="one_cycle",
        warmup_epochs=0,
    ),
}
_FEW_SHOT: dict[Family, OptimConfig] = {
    "resnet": replace(_TRAIN["resnet"], lr=1e-3, epochs=20, lr_scheduler="one_cycle"),
    "vit": replace(_TRAIN["vit"], lr=2e-4, epochs=20),
}


@dataclass(frozen=True)
class Recipe:
    """How a student is stepped, and how its training images vary."""

    family: Family
    optim: OptimConfig  # whose epochs are passes over the images
    rand_augment: bool  # RandAugment(2, 9) in front of the random crop


def family_of(timm_name: str) -> Family:
    """The recipe for a model of timm: that of transformers for those called so, else that of ResNets."""
    return "vit" if any(part in timm_name for part in ("vit", "deit", "swin", "beit", "eva")) else "resnet"


def recipe(family: Family, images: int, stage: Stage = "train", repeats: int | None = None) -> Recipe:
    """The paper's recipe.

    Args:
        images: number of training images, which decides how often a small set is repeated.
        repeats: passes over the images in each of the paper's epochs; None takes the paper's.
    """
    if stage == "few_shot":
        optim, passes = _FEW_SHOT[family], FEW_SHOT_REPEATS[family]
    else:
        optim, passes = _TRAIN[family], REPEATS[family, "small" if images <= SMALL else "large"]
    return Recipe(family, stretched(optim, passes if repeats is None else repeats), rand_augment=family == "vit")


def stretched(optim: OptimConfig, passes: int) -> OptimConfig:
    """The same schedule over so many times its epochs."""
    stepsize = optim.stepsize * passes if optim.stepsize > 0 else optim.stepsize
    return replace(optim, epochs=optim.epochs * passes, stepsize=stepsize)


def shortened_to(optim: OptimConfig, epochs: int) -> OptimConfig:
    """The same schedule in another number of passes over the images.

    One cycle over a few epochs would never reach its highest rate, so it counts steps where there are few.
    """
    if optim.lr_scheduler == "one_cycle" and epochs < FEW_EPOCHS:
        return replace(optim, epochs=epochs, lr_scheduler="cosine_steps", warmup_share=RISING_SHARE)
    stepsize = max(1, round(optim.stepsize * epochs / optim.epochs)) if optim.stepsize > 0 else optim.stepsize
    return replace(optim, epochs=epochs, stepsize=stepsize)
