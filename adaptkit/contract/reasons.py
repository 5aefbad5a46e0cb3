"""Reasons: what a method can say in words about an answer, as a sum of parts."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor


@dataclass(frozen=True)
class Reason:
    """One part of a class's score."""

    text: str  # in the words of whoever described the class
    cosine: float  # of the image with the phrase of this part
    contribution: float  # to the score; the contributions of a class sum to it
    delta: float | None = None  # the cosine less its mean over the reference images, where there are some


@dataclass(frozen=True)
class Reasons:
    """A class with its score for one image, and the parts of the score, the largest cosine first."""

    label: str
    index: int
    score: float
    parts: tuple[Reason, ...]


@runtime_checkable
class GivesReasons(Protocol):
    """A method whose scores are sums of parts that have words."""

    def reasons(self, x: Tensor, topk: int = 2, reference: Tensor | None = None) -> list[list[Reasons]]:
        """Input of the kind that the method consumes -> for every image its `topk` best classes, the best first."""
        ...
