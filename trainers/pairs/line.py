"""The line between a model before and after a training, and the place on it that forgets little and gains much.

Wortsman et al., "Robust fine-tuning of zero-shot models", arXiv:2109.01903 (WiSE-FT), equation 1:
    theta(alpha) = (1 - alpha) theta_before + alpha theta_after

Departure: theta are the learnt tensors, such as the factors of low-rank updates, and not the whole weights that they
    stand for; the two ends of the line are the same.
Departure: alpha is chosen on validation pairs and validation images of the guard, and never on a test part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from adaptkit.contract.adapted_towers import AdaptedTowers

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Place:
    """A model on the line, as validation sees it."""

    alpha: float
    rsum: float  # of the validation pairs
    guard: float | None  # accuracy in percent on the guard's validation images; None without a guard


def put_on_line(method: AdaptedTowers, before: Mapping[str, Tensor], after: Mapping[str, Tensor], alpha: float) -> None:
    """Give a method the learnt tensors at a place on the line."""
    method.load_learnt_state(
        {
            name: torch.lerp(before[name], tensor, alpha) if tensor.is_floating_point() else tensor
            for name, tensor in after.items()
        }
    )


def choose(places: Sequence[Place], least: float | None) -> Place:
    """The place with the largest rsum among those whose accuracy on the guard is not below `least`.

    Where all are below it, the one with the largest accuracy; of equal places, the first.

    Args:
        least: percent; None asks for nothing.
    """
    if least is None:
        return max(places, key=lambda place: place.rsum)
    holding = [place for place in places if place.guard is not None and place.guard >= least]
    return max(holding, key=lambda place: place.rsum) if holding else max(places, key=lambda place: place.guard or 0.0)
