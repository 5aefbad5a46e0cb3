"""Two planted spaces with a modality gap: image = text + constant offset + noise, and an old space that is not linear.

A thing is a latent vector z. The new model has its text at n(z W), its image at n(text + c + noise) with one offset c.
The old model has the text at n(W' tanh(z)), and the image behind an offset of its own and larger noise. So the old
model is weaker, a linear map explains most and not all of it, and images lie off the cone of texts in both spaces.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.evaluation.upgrade import Rows

LATENT, NEW_WIDTH, OLD_WIDTH = 16, 48, 32
GAP = 0.8  # length of the offset between unit texts and images
NEW_NOISE, OLD_NOISE = 0.4, 0.8  # length of the noise of an image


@dataclass(frozen=True)
class PlantedPairs:
    """Things as both models have them: unit rows, image i of text i."""

    old: Rows
    new: Rows


def planted(seed: int, train: int = 1000, test: int = 400) -> tuple[PlantedPairs, PlantedPairs]:
    """Pairs to fit on, and others to test on, in the same two spaces."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    to_new, to_old = normal(LATENT, NEW_WIDTH), normal(LATENT, OLD_WIDTH)
    new_gap, old_gap = (GAP * F.normalize(normal(width), dim=0) for width in (NEW_WIDTH, OLD_WIDTH))

    def pairs(count: int) -> PlantedPairs:
        latent = normal(count, LATENT)
        new = F.normalize(latent @ to_new, dim=-1)
        old = F.normalize(latent.tanh() @ to_old, dim=-1)
        new_images = new + new_gap + NEW_NOISE * normal(count, NEW_WIDTH) / NEW_WIDTH**0.5
        old_images = old + old_gap + OLD_NOISE * normal(count, OLD_WIDTH) / OLD_WIDTH**0.5
        return PlantedPairs(Rows(F.normalize(old_images, dim=-1), old), Rows(F.normalize(new_images, dim=-1), new))

    return pairs(train), pairs(test)
