"""Images that are one image to a search, because the frozen tower gives them the same features."""

from collections.abc import Sequence

import numpy as np
import torch.nn.functional as F
from torch import Tensor

ALIKE = 1 - 1e-5  # cosine of the features from which on two images count as one
BLOCK = 1024  # rows of similarities at a time


def alike(features: Tensor, labels: Sequence[int]) -> list[int]:
    """For each image the place of the first image of its class that has the same features, which may be its own.

    Args:
        features: frozen image features (N, D).
        labels: N numbers.
    """
    unit = F.normalize(features.double(), dim=-1)
    first = list(range(len(labels)))
    places: dict[int, list[int]] = {}
    for place, label in enumerate(labels):
        places.setdefault(label, []).append(place)
    for members in places.values():
        rows = [(part @ unit[members].T > ALIKE).numpy().argmax(axis=1) for part in unit[members].split(BLOCK)]
        for place, row in zip(members, np.concatenate(rows).tolist(), strict=True):
            first[place] = first[members[row]]
    return first


def all_alike(features: Tensor) -> bool:
    """Whether every image has the features (N, D) of the first."""
    unit = F.normalize(features.double(), dim=-1)
    return bool((unit @ unit[0] > ALIKE).all())
