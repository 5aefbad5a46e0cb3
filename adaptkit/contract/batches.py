"""What a training hands over in one step: labelled examples, or images with texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor


@dataclass(frozen=True)
class LabelledBatch:
    """Examples of classes: x is of the kind that the method consumes, (B, ...); labels (B,) int64."""

    x: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.labels.shape != self.x.shape[:1]:
            raise ValueError(f"{len(self.x)} examples have labels of shape {tuple(self.labels.shape)}; expected (B,)")


@dataclass(frozen=True)
class PairBatch:
    """Images with texts that describe them, pair by pair.

    Pairs of one group belong together, as the five captions of a photograph do: they are no negatives of each other.

    Raises:
        ValueError: if there are not as many images as texts as groups.
    """

    images: Tensor  # (B, 3, H, W), or image features (B, D)
    texts: Sequence[str] | Tensor  # B texts, or their token ids (B, L) int64
    groups: Tensor  # (B,) int64

    def __post_init__(self) -> None:
        counts = len(self.images), len(self.texts), len(self.groups)
        if len(set(counts)) > 1:
            raise ValueError("{} images, {} texts and {} groups; expected as many of each".format(*counts))


Batch: TypeAlias = LabelledBatch | PairBatch
