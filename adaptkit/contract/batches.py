"""What a training hands over: all its examples before the first step, then labelled ones, or images with texts."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor


@dataclass(frozen=True)
class Examples:
    """All training images, as an objective that asks for them sees them before the first step.

    Raises:
        ValueError: if there are not as many names as labels as rows of features.
    """

    names: tuple[str, ...]  # N files, as the data set's lists write them; a batch's `places` count in this order
    labels: Tensor  # (N,) int64
    features: Tensor  # (N, D) of the frozen image tower, without augmentation, not normalised
    new_names: tuple[str, ...] = ()  # of classes that are tested and not learnt; only where an objective asks for them

    def __post_init__(self) -> None:
        counts = len(self.names), len(self.labels), len(self.features)
        if len(set(counts)) > 1:
            raise ValueError("{} names, {} labels and {} rows of features; expected as many of each".format(*counts))

    def keys_in(self, keys: Iterable[str]) -> tuple[str | None, ...]:
        """For each image the key of a table of files that means it: its name, or its name without folders.

        Names without folders count where no other training image has the same; None where no key means the image.
        """
        known = set(keys)
        short = [name.rpartition("/")[2] for name in self.names]
        counts = Counter(short)
        return tuple(
            name if name in known else last if last in known and counts[last] == 1 else None
            for name, last in zip(self.names, short, strict=True)
        )


@dataclass(frozen=True)
class LabelledBatch:
    """Examples of classes: x is of the kind that the method consumes, (B, ...); labels (B,) int64."""

    x: Tensor
    labels: Tensor
    places: Tensor | None = None  # (B,) int64, which of the `Examples` each row is; None where nobody asked for it

    def __post_init__(self) -> None:
        if self.labels.shape != self.x.shape[:1]:
            raise ValueError(f"{len(self.x)} examples have labels of shape {tuple(self.labels.shape)}; expected (B,)")
        if self.places is not None and self.places.shape != self.x.shape[:1]:
            raise ValueError(f"{len(self.x)} examples have places of shape {tuple(self.places.shape)}; expected (B,)")


# A text, or the n texts of a pair; None where one is missing.
PairText: TypeAlias = str | Sequence[str | None]


@dataclass(frozen=True)
class PairBatch:
    """Images with texts that describe them, pair by pair.

    Pairs of one group belong together, as the five captions of a photograph do: they are no negatives of each other.
    An objective that writes texts of its own has n texts for each pair, of which some may be missing.

    Raises:
        ValueError: if there are not as many images as texts as groups.
    """

    images: Tensor  # (B, 3, H, W), features (B, D) of the frozen image tower, or rows (B, ...) of a side that is frozen
    texts: Sequence[PairText] | Tensor  # B texts, or features (B, D), (B, n, D) of the frozen text tower
    groups: Tensor  # (B,) int64

    def __post_init__(self) -> None:
        counts = len(self.images), len(self.texts), len(self.groups)
        if len(set(counts)) > 1:
            raise ValueError("{} images, {} texts and {} groups; expected as many of each".format(*counts))

    def to(self, device: torch.device) -> "PairBatch":
        """The same pairs with all tensors on a device."""
        texts = self.texts.to(device) if isinstance(self.texts, Tensor) else self.texts
        return PairBatch(self.images.to(device, non_blocking=True), texts, self.groups.to(device))


Batch: TypeAlias = LabelledBatch | PairBatch
