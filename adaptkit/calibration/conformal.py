"""Conformal prediction: sets of classes that hold the right one as often as was promised.

Split conformal prediction, Vovk et al., "Algorithmic Learning in a Random World" (2005). Every held-out image gets a
score s of its right class; of N scores the k-th smallest is the threshold, and an image's set has every class whose
score is no higher:

    k = ceil((N + 1) coverage),    C(x) = {y : s(x, y) <= s_(k)}

The set of an image that is exchangeable with the held-out ones holds its class with at least the coverage, and at most
1 / (N + 1) above it where no scores are equal. With k > N nothing less than all classes keeps the promise.

    lac               s = 1 - p_y, the smallest sets on average; an image may have an empty one.
                      Sadinle et al., "Least Ambiguous Set-Valued Classifiers with Bounded Error Levels",
                      arXiv:1609.00451
    aps               s = the probability of all classes above y; a set is never empty, and large where it is uncertain.
                      Romano et al., "Classification with Valid and Adaptive Coverage", arXiv:2006.02544
    aps_randomised    s = the probability above y + u p_y with u uniform for each image, which meets the coverage
                      exactly; a set may be empty. u is a hash of the image's logits, so that an image has the same set
                      wherever it stands.

`coverage_of="classes"` takes a threshold of each class from its own held-out images, so that every class is covered.
"""

import hashlib
import math
from fractions import Fraction
from numbers import Real
from typing import Literal, TypeAlias

import torch
from torch import Tensor

SetScore: TypeAlias = Literal["lac", "aps", "aps_randomised"]
CoverageOf: TypeAlias = Literal["images", "classes"]


def mass_above(logits: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Probabilities (B, C) of logits (B, C), and for each class the probability of all that stand above it.

    Of equal logits the earlier class stands above. In double precision.
    """
    scaled = logits.double() / temperature
    probabilities = scaled.softmax(dim=1)
    order = logits.sort(dim=1, descending=True, stable=True).indices
    ranked = probabilities.gather(1, order)
    before = torch.cat([torch.zeros_like(ranked[:, :1]), ranked.cumsum(dim=1)[:, :-1]], dim=1)
    return probabilities, torch.empty_like(before).scatter_(1, order, before)


def set_scores(own: Tensor, above: Tensor, score: SetScore, u: Tensor | None = None) -> Tensor:
    """Scores of classes by their probabilities and the probability above them, of any shape.

    Args:
        u: uniform numbers from 0 to 1 for "aps_randomised", one for each image, of a shape that broadcasts.
    """
    if score == "lac":
        return 1 - own
    if score == "aps":
        return above
    assert u is not None
    return above + u * own


def uniform_draws(logits: Tensor) -> Tensor:
    """A number from 0 to 1 for each image, drawn by the digits of its logits (B, C): (B,)."""
    rows = logits.detach().cpu().double().numpy()
    first = (hashlib.sha256(row.tobytes()).digest()[:6] for row in rows)
    return torch.tensor([int.from_bytes(six, "big") / 2**48 for six in first], dtype=torch.float64)


def least_images(coverage: float) -> int:
    """Held-out images below which a set that keeps the coverage has all classes."""
    exact = _exactly(coverage)
    return math.ceil(exact / (1 - exact))


def rank_of_threshold(count: int, coverage: float) -> int:
    """Which of N scores in rising order is the threshold: k = ceil((N + 1) coverage); N + 1 where N is too small."""
    return math.ceil((count + 1) * _exactly(coverage))


def conformal_threshold(scores: Tensor, coverage: float) -> float:
    """The k-th smallest of N scores; infinite where N is too small for the coverage.

    Raises:
        ValueError: if the coverage is not between 0 and 1.
    """
    check_coverage(coverage)
    k = rank_of_threshold(len(scores), coverage)
    return math.inf if k > len(scores) else float(scores.double().kthvalue(k).values)


def check_coverage(coverage: object) -> None:
    """Check a promised coverage.

    Raises:
        ValueError: if it is no number between 0 and 1.
    """
    if isinstance(coverage, bool) or not isinstance(coverage, Real) or not 0 < float(coverage) < 1:
        raise ValueError(f"coverage={coverage!r}; expected a probability between 0 and 1, such as 0.9")


def _exactly(coverage: float) -> Fraction:
    """The decimal number that was written: 0.28 * 100 is 28 and no binary digit above it."""
    return Fraction(repr(float(coverage)))


def thresholds_of_classes(scores: Tensor, labels: Tensor, n_classes: int, coverage: float) -> Tensor:
    """The threshold of each class from the scores (N,) of its own images: (C,), infinite where they are too few."""
    each = [conformal_threshold(scores[labels == label], coverage) for label in range(n_classes)]
    return torch.tensor(each, dtype=torch.float64)
