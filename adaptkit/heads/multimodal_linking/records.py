"""Records as frozen features: an image, a text, or both, of each."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RecordFeatures:
    """Frozen features of N records, not normalised; the row of what a record lacks is never looked at."""

    image: Tensor  # (N, D)
    text: Tensor  # (N, D)
    has_image: Tensor  # (N,) bool
    has_text: Tensor  # (N,) bool

    def __post_init__(self) -> None:
        shapes = [tuple(each.shape) for each in (self.image, self.text, self.has_image, self.has_text)]
        if self.image.ndim != 2 or shapes[0] != shapes[1] or shapes[2] != shapes[3] or shapes[2] != shapes[0][:1]:
            raise ValueError(
                f"image features {shapes[0]} and text features {shapes[1]} with marks {shapes[2]} and {shapes[3]} are "
                "no records; give (N, D), (N, D), (N,) and (N,), with any row for what is missing"
            )
        empty = ~(self.has_image | self.has_text)
        if empty.any():
            raise ValueError(
                f"record {int(empty.nonzero()[0, 0])} has neither image nor text; leave such records out before linking"
            )

    def __len__(self) -> int:
        return len(self.image)

    def at(self, places: Tensor | Sequence[int]) -> "RecordFeatures":
        """The records at some places, in their order."""
        places = torch.as_tensor(places, device=self.image.device)
        return RecordFeatures(self.image[places], self.text[places], self.has_image[places], self.has_text[places])

    def to(self, device: torch.device) -> "RecordFeatures":
        """The same on another device."""
        return RecordFeatures(*(each.to(device) for each in (self.image, self.text, self.has_image, self.has_text)))


def records_of(image: Tensor | None, text: Tensor | None) -> RecordFeatures:
    """Records that all have an image, a text, or both: features (N, D), not normalised, and None for what all lack.

    Raises:
        ValueError: if both are None, or they are not of the same records.

    Example:
        ```python
        import torch

        from adaptkit.heads.multimodal_linking import records_of

        records = records_of(torch.randn(3, 8), torch.randn(3, 8))
        assert len(records) == 3
        ```
    """
    given = image if image is not None else text
    if given is None:
        raise ValueError("neither image features nor text features were given; give one of them")
    zeros, marks = torch.zeros_like(given), torch.ones(given.shape[:1], dtype=torch.bool, device=given.device)
    return RecordFeatures(
        zeros if image is None else image,
        zeros if text is None else text,
        torch.zeros_like(marks) if image is None else marks,
        torch.zeros_like(marks) if text is None else marks,
    )
