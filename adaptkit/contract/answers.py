"""Logits -> answers: class names with probabilities, scores of single classes, and "none of these".

Softmax probabilities sum to 1 over the classes, so one of them is large whatever the image shows. Two things help where
an image may show none of the classes, or several:

- `reject`: an image whose best class has a lower score is answered with `UNKNOWN`;
- independent scores: sigmoid(logit - offset) for each class alone, as SigLIP is trained with.

The offset is the logit at which a class is as likely there as not. SigLIP's logits contain its own `logit_bias`, so its
offset is 0. CLIP's logits have no such zero: a softmax does not change when a number is added to all of them. Unless an
offset is given, each class is compared with the neutral name "something" in the same prompt, so that the score is the
softmax of these two.

A method that has learnt several labels per image has log odds as its logits, and a threshold for each label. Its scores
are independent, its offset is 0, and an image is answered with all labels whose log odds reach their thresholds.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Literal, Protocol, TypeAlias, get_args

from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_set import ClassSet

UNKNOWN = "unknown"
NEUTRAL = "something"
Scores: TypeAlias = Literal["softmax", "independent"]


@dataclass(frozen=True)
class Prediction:
    """What a method says of one image: class names, the most probable first, with their probabilities."""

    labels: tuple[str, ...]
    probabilities: tuple[float, ...]  # of all classes together they sum to 1, unless the scores are independent
    indices: tuple[int, ...] = ()  # places of the classes in the method's order; they tell equal names apart
    rejected: bool = False  # whether even the most probable class is less probable than `reject`, or no label is there
    present: tuple[str, ...] | None = None  # labels at or above their thresholds, where an image may have several

    @property
    def label(self) -> str:
        """The most probable class, or `UNKNOWN` if it was rejected."""
        return UNKNOWN if self.rejected else self.labels[0]

    @property
    def probability(self) -> float:
        """Of the most probable class, rejected or not."""
        return self.probabilities[0]


@dataclass(frozen=True)
class Answering:
    """How logits become answers.

    Args:
        topk: classes per image; all of them where there are fewer.
        reject: the least score of an answer, from 0 to 1; None answers with a class always.
        scores: "softmax" of all classes, or "independent" ones by sigmoid(logit - offset); None stands for what the
            method was trained for.
        offset: of independent scores; None stands for the backbone's own, or for the neutral name.

    Raises:
        ValueError: if one of them is out of its range, or there is an offset and no independent scores.
    """

    topk: int = 5
    reject: float | None = None
    scores: Scores | None = None
    offset: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.topk, Integral) or isinstance(self.topk, bool) or self.topk < 1:
            raise ValueError(f"topk={self.topk!r}; expected at least 1 class per image, as a whole number")
        if self.reject is not None and not (_is_number(self.reject) and 0 <= self.reject <= 1):
            raise ValueError(f"reject={self.reject!r}; expected a probability from 0 to 1, such as 0.8")
        if self.scores is not None and self.scores not in get_args(Scores):
            raise ValueError(f"scores={self.scores!r}; expected one of {', '.join(get_args(Scores))}")
        if self.offset is not None and self.scores != "independent":
            raise ValueError(f"offset={self.offset!r} is for independent scores; ask for scores='independent' with it")
        if self.offset is not None and not (_is_number(self.offset) and math.isfinite(self.offset)):
            raise ValueError(f"offset={self.offset!r}; expected a finite number, in units of logits")


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


class TakesNames(Protocol):
    """The part of a method that the offset of independent scores needs."""

    backbone: FrozenCLIP
    classes: ClassSet
    mixes_classes: bool

    @property
    def label_thresholds(self) -> Tensor | None: ...

    @property
    def provides(self) -> frozenset[str]: ...

    @property
    def bound_to_classes(self) -> str | None: ...

    def set_classes(self, classnames: ClassSet) -> None: ...


def needs_neutral(method: TakesNames, answering: Answering) -> bool:
    """Whether the offset is the logit of the neutral name.

    Raises:
        ValueError: if the score of a class depends on the others, or an offset has to be given, because the logits
            have no zero and the method takes no other name.
    """
    if method.label_thresholds is not None:
        given = "scores='softmax'" if answering.scores == "softmax" else f"offset={answering.offset!r}"
        if answering.scores == "softmax" or answering.offset is not None:
            raise ValueError(
                f"this method has learnt several labels per image, each with a score and a threshold of its own; leave "
                f"{given} out"
            )
        return False
    if answering.scores != "independent":
        return False
    if method.mixes_classes:
        raise ValueError(
            f"{type(method).__name__} has no independent scores: what it makes of an image depends on which other "
            "classes there are; ask for scores='softmax', or take another method"
        )
    if answering.offset is not None:
        return False
    own_logits = method.bound_to_classes is not None and "class_weights" not in method.provides
    if method.backbone.logit_bias is not None and not own_logits:
        return False
    if method.bound_to_classes is not None:
        raise ValueError(
            "independent scores need an offset here, the logit at which a class is as likely there as not: the logits "
            "have no zero of their own, and a neutral name cannot be added, because "
            f"{method.bound_to_classes}. `adaptkit eval ADAPTER --data IMAGES --json` fits one (independent_offset)"
        )
    return True


@contextmanager
def neutral_class(method: TakesNames) -> Iterator[None]:
    """Inside, the method has the neutral name as its last class."""
    before = method.classes
    method.set_classes(before.with_class(NEUTRAL))
    try:
        yield
    finally:
        method.set_classes(before)


def ranked(
    logits: Tensor,
    names: tuple[str, ...],
    answering: Answering,
    neutral: bool = False,
    thresholds: Tensor | None = None,
) -> Iterator[Prediction]:
    """Logits (B, C) -> one prediction per row; equal classes keep the order they were given in.

    Args:
        neutral: the last column is the neutral name's, which is no answer.
        thresholds: log odds (C,) from which labels are answers, where an image may have several.

    Raises:
        ValueError: if a logit is not finite.
    """
    if not logits.isfinite().all():
        raise ValueError(
            "the method answers with numbers that are not finite, so there is nothing to rank; its learnt tensors or "
            "the backbone's weights are damaged, or its training diverged: load another copy, or train again"
        )
    logits = logits.double()
    if thresholds is not None:
        scores = logits.sigmoid()
    elif answering.scores != "independent":
        scores = logits.softmax(dim=-1)
    elif neutral:
        scores = (logits[:, :-1] - logits[:, -1:]).sigmoid()
    else:
        scores = (logits - (answering.offset or 0.0)).sigmoid()
    values, places = scores.cpu().sort(dim=-1, descending=True, stable=True)
    least = 0.0 if answering.reject is None else answering.reject
    answers = scores >= least if thresholds is None else (scores >= least) & (logits >= thresholds.to(logits))
    for row, order, said in zip(values.tolist(), places.tolist(), answers.cpu().tolist(), strict=True):
        present = None if thresholds is None else tuple(names[place] for place in order if said[place])
        rejected = row[0] < least if present is None else not present
        best = order[: answering.topk]
        yield Prediction(tuple(names[place] for place in best), tuple(row[: len(best)]), tuple(best), rejected, present)
