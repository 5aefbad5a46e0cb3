"""Mod-X's diagnostics: how far a training turned the two modalities, and whether it turned them alike.

For unit features z of N samples in model a and in model b, in either modality:
    RAM_i  = arccos <z_i^b, z_i^a>                 how far a sample turned
    SAM_ij = arccos <z_i, z_j>                     angles between samples inside one model
    rotation inside a modality   mean over i != j of |SAM_ij^b - SAM_ij^a|
    inter-modal deviation        mean over pairs of |RAM_i of the image - RAM_i of the text|
A rotation of a whole modality changes RAM and not SAM. All angles are in radians.

Departure: the paper shows histograms of the two matrices; the deviation as one number is ours.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.contract.adapted_towers import AdaptedTowers
from adaptkit.contract.batches import PairBatch
from adaptkit.contract.pair_objective import image_features, text_features

ROWS = 128  # images or texts that are encoded at a time


@dataclass(frozen=True)
class DriftReport:
    """How the features of N pairs moved between two models, in radians."""

    image_rotation: Tensor  # (N,) RAM of the images
    text_rotation: Tensor  # (N,) RAM of the texts
    image_reshaping: float  # mean absolute change of the angles between images
    text_reshaping: float  # the same of the texts

    @property
    def deviation(self) -> float:
        """The inter-modal deviation: mean absolute difference of a pair's two rotations."""
        return float((self.image_rotation - self.text_rotation).abs().mean())

    def histogram(self, bins: int = 12, most: float = math.pi / 6) -> tuple[Tensor, Tensor]:
        """Counts (bins,) of the rotations of images and of texts, in equal steps from 0 to `most`; the last has all
        that turned further.
        """

        def counts(rotation: Tensor) -> Tensor:
            places = (rotation / most * bins).long().clamp(max=bins - 1)
            return torch.bincount(places, minlength=bins)

        return counts(self.image_rotation), counts(self.text_rotation)


def rotation_angles(features_a: Tensor, features_b: Tensor) -> Tensor:
    """Angles (N,) between the rows (N, D) of two models, not normalised."""
    a, b = F.normalize(features_a.double(), dim=-1), F.normalize(features_b.double(), dim=-1)
    # The arccos of a cosine near 1 would lose half of the digits.
    return 2 * torch.atan2((a - b).norm(dim=-1), (a + b).norm(dim=-1))


def self_angles(features: Tensor) -> Tensor:
    """Angles (N, N) between all rows (N, D) of one model, not normalised; 0 on the diagonal."""
    unit = F.normalize(features.double(), dim=-1)
    return (unit @ unit.T).clamp(-1, 1).arccos().fill_diagonal_(0.0)


def drift_of(images_a: Tensor, texts_a: Tensor, images_b: Tensor, texts_b: Tensor) -> DriftReport:
    """The report from features (N, D) of the same pairs in models a and b, not normalised.

    Raises:
        ValueError: if the shapes differ, or there is no pair.
    """
    shapes = [tuple(features.shape) for features in (images_a, texts_a, images_b, texts_b)]
    if len(set(shapes)) != 1 or len(shapes[0]) != 2 or not shapes[0][0]:
        raise ValueError(f"features have the shapes {shapes}; expected four of one shape (pairs, width)")
    return DriftReport(
        rotation_angles(images_a, images_b),
        rotation_angles(texts_a, texts_b),
        _reshaping(images_a, images_b),
        _reshaping(texts_a, texts_b),
    )


@torch.no_grad()
def drift_report(model_a: AdaptedTowers, model_b: AdaptedTowers, pairs: PairBatch) -> DriftReport:
    """How the features of pairs moved from one model to another, such as from one phase to the next.

    Args:
        pairs: images (N, 3, H, W) with a text each; the angles between all take N x N numbers.

    Example:
        ```python
        import torch
        import adaptkit
        from adaptkit.contract.batches import PairBatch
        from adaptkit.objectives.modx import drift_report

        backbone = adaptkit.load_backbone("adaptkit-mini")
        before, after = (adaptkit.create_method("clip_lora", backbone, None) for _ in range(2))
        pairs = PairBatch(torch.rand(2, 3, 48, 48), ["a cat", "a dog"], torch.arange(2))
        print(drift_report(before, after, pairs).deviation)
        ```
    """
    return drift_of(*_features(model_a, pairs), *_features(model_b, pairs))


def _features(model: AdaptedTowers, pairs: PairBatch) -> tuple[Tensor, Tensor]:
    was_training = model.training
    model.eval()
    bounds = [slice(start, start + ROWS) for start in range(0, len(pairs.groups), ROWS)]
    images = torch.cat([image_features(model, pairs.images[rows].to(model.device)) for rows in bounds])
    texts = torch.cat([_texts(model, pairs.texts[rows]) for rows in bounds])
    model.train(was_training)
    return images, texts


def _texts(model: AdaptedTowers, texts: Sequence[object] | Tensor) -> Tensor:
    return text_features(model, texts.to(model.device) if isinstance(texts, Tensor) else texts)  # type: ignore[arg-type]


def _reshaping(a: Tensor, b: Tensor) -> float:
    """The mean absolute change of the angles between different samples; 0 for a single one."""
    count = len(a)
    return float((self_angles(b) - self_angles(a)).abs().sum() / max(count * (count - 1), 1))
