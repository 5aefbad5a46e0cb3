"""Cascades: small vectors, or shallow exits, answer first, and the next one is asked only where they are unsure.

Kusupati et al., arXiv:2205.13147, adaptive classification (RAIVNLab/MRL 7ccb42d). An image stops at the first step
whose largest probability is above its threshold. The threshold of a step is the smallest number on a grid from 0.1 to 1
at which the pair of it and the next step is most accurate on held-out images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

SCALES = tuple(2.0 ** (power / 4) for power in range(-12, 13))  # an eighth to eight
GRID = tuple(torch.linspace(0.1, 1.0, 100, dtype=torch.float64).tolist())


@dataclass(frozen=True)
class Answered:
    """What a cascade answers: the class of each image (N,), and the number of the step that it stopped at (N,)."""

    labels: Tensor
    steps: Tensor

    def mean_cost(self, costs: Sequence[float]) -> float:
        """The mean cost of an image, where stopping at a step costs so much."""
        return float(torch.tensor(costs, dtype=torch.float64)[self.steps.cpu()].mean())


def best_scale(logits: Tensor, labels: Tensor) -> float:
    """The factor on logits (N, C) at which held-out images have the least cross-entropy; it changes no ranking.

    CLIP's scale fits full vectors; those of few coordinates are too sure or too shy at it.
    """
    return min(SCALES, key=lambda scale: float(F.cross_entropy(scale * logits, labels)))


def thresholds(probabilities: Sequence[Tensor], labels: Tensor) -> list[float]:
    """A threshold for each step but the last, from probabilities (N, C) of every step on held-out images."""
    found = []
    for small, large in pairwise(probabilities):
        confidence, answer = small.max(dim=-1)
        right, right_next = answer == labels, large.argmax(dim=-1) == labels
        stops = confidence[:, None] > torch.tensor(GRID).to(confidence)  # (N, grid)
        accuracy = torch.where(stops, right[:, None], right_next[:, None]).double().mean(dim=0)
        found.append(GRID[int(accuracy.argmax())])  # the first of the best, which is the smallest
    return found


def cascade(probabilities: Sequence[Tensor], steps_thresholds: Sequence[float]) -> Answered:
    """Answers of a cascade: probabilities (N, C) of every step, and a threshold for each but the last.

    Raises:
        ValueError: if there are not as many thresholds as steps but one.
    """
    if len(steps_thresholds) != len(probabilities) - 1:
        raise ValueError(
            f"{len(steps_thresholds)} thresholds for {len(probabilities)} steps; give one for each step but the last"
        )
    count, device = len(probabilities[0]), probabilities[0].device
    labels, steps = probabilities[-1].argmax(dim=-1), torch.full((count,), len(probabilities) - 1, device=device)
    for step in range(len(probabilities) - 2, -1, -1):
        confidence, answer = probabilities[step].max(dim=-1)
        stops = confidence > steps_thresholds[step]
        labels, steps = torch.where(stops, answer, labels), torch.where(stops, step, steps)
    return Answered(labels, steps)
