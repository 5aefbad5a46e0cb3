"""Logits -> answers: class names with probabilities, scores of single classes, and "none of these".

Softmax probabilities sum to 1 over the classes, so one of them is large whatever the image shows. Two things help where
an image may show none of the classes, or several:

- `reject`: an image whose best class has a lower score is answered with `UNKNOWN`;
- independent scores: sigmoid(logit - offset) for each class alone, as SigLIP is trained with.

Where a method has a calibration (`adaptkit.calibration`), softmax probabilities have its temperature, `reject="auto"`
takes the threshold that was chosen on classes left out, and a `coverage` gives every image a set of classes that holds
the right one as often as that.

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
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Literal, Protocol, TypeAlias, get_args

from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.calibration.calibration import Calibration
from adaptkit.calibration.certainty import PLAIN, Certainty, certainty_of
from adaptkit.calibration.conformal import CoverageOf, SetScore, check_coverage
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
    calibrated: bool = False  # whether a temperature that was fitted on held-out images is in the probabilities
    members: tuple[str, ...] | None = None  # classes of the prediction set, most probable first; None: none asked for
    member_indices: tuple[int, ...] = ()  # their places in the method's order
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
        reject: the least score of an answer, from 0 to 1, or "auto" for the one that the calibration has; None answers
            with a class always.
        scores: "softmax" of all classes, or "independent" ones by sigmoid(logit - offset); None stands for what the
            method was trained for.
        offset: of independent scores; None stands for the backbone's own, or for the neutral name.
        coverage: give every image a set of classes, which holds the right one as often as this; None gives no sets.
        sets: the score that sets are made of, see `adaptkit.calibration.conformal`.
        coverage_of: "images" on average over all, or "classes", each of them alone.

    Raises:
        ValueError: if one of them is out of its range, there is an offset and no independent scores, or there are
            independent scores and a coverage.
    """

    topk: int = 5
    reject: float | Literal["auto"] | None = None
    scores: Scores | None = None
    offset: float | None = None
    coverage: float | None = None
    sets: SetScore = "lac"
    coverage_of: CoverageOf = "images"

    def __post_init__(self) -> None:
        if not isinstance(self.topk, Integral) or isinstance(self.topk, bool) or self.topk < 1:
            raise ValueError(f"topk={self.topk!r}; expected at least 1 class per image, as a whole number")
        if self.reject not in (None, "auto") and not (_is_number(self.reject) and 0 <= self.reject <= 1):
            raise ValueError(f"reject={self.reject!r}; expected a probability from 0 to 1, such as 0.8, or 'auto'")
        if self.scores is not None and self.scores not in get_args(Scores):
            raise ValueError(f"scores={self.scores!r}; expected one of {', '.join(get_args(Scores))}")
        if self.offset is not None and self.scores != "independent":
            raise ValueError(f"offset={self.offset!r} is for independent scores; ask for scores='independent' with it")
        if self.offset is not None and not (_is_number(self.offset) and math.isfinite(self.offset)):
            raise ValueError(f"offset={self.offset!r}; expected a finite number, in units of logits")
        if self.coverage is not None:
            check_coverage(self.coverage)
        for name, value, known in (("sets", self.sets, SetScore), ("coverage_of", self.coverage_of, CoverageOf)):
            if value not in get_args(known):
                raise ValueError(f"{name}={value!r}; expected one of {', '.join(get_args(known))}")
        if self.scores == "independent" and (self.coverage is not None or self.reject == "auto"):
            raise ValueError(
                "a coverage and reject='auto' are about probabilities that sum to 1 over the classes; leave "
                "scores='independent' out with them"
            )


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


class TakesNames(Protocol):
    """The part of a method that the offset of independent scores needs."""

    backbone: FrozenCLIP
    classes: ClassSet
    mixes_classes: bool
    calibration: Calibration | None

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


def resolved(method: TakesNames, answering: Answering) -> tuple[Answering, Certainty]:
    """The answering with its threshold as a number, and what the method's calibration says of its classes of now.

    Raises:
        ValueError: if a coverage or reject="auto" is asked for, and no calibration of these classes has it, or images
            have several labels.
    """
    if method.label_thresholds is not None and (answering.coverage is not None or answering.reject == "auto"):
        raise ValueError(
            "this method has learnt several labels per image, each with a score and a threshold of its own, so a "
            "coverage and reject='auto', which are about images of one class each, promise nothing; leave them out"
        )
    if answering.scores == "independent" or method.label_thresholds is not None:
        return answering, PLAIN
    calibration = method.calibration
    certainty = certainty_of(calibration, method.classes, answering.coverage, answering.sets, answering.coverage_of)
    if answering.reject != "auto":
        return answering, certainty
    if calibration is None:
        raise _no_threshold("no calibration")
    if calibration.unknown is None:
        raise _no_threshold("no threshold for unknown classes in its calibration")
    if calibration.places_in(method.classes) is None:
        raise _no_threshold("one for other classes or prompts")
    return replace(answering, reject=calibration.unknown.threshold), certainty


def _no_threshold(why: str) -> ValueError:
    return ValueError(
        f"reject='auto' needs a threshold that was chosen on classes left out, and this method has {why}; give a "
        "probability such as 0.8, or calibrate it with `adaptkit calibrate` where it can take other classes"
    )


def ranked(
    logits: Tensor,
    names: tuple[str, ...],
    answering: Answering,
    neutral: bool = False,
    certainty: Certainty = PLAIN,
    thresholds: Tensor | None = None,
) -> Iterator[Prediction]:
    """Logits (B, C) -> one prediction per row; equal classes keep the order they were given in.

    Args:
        answering: with a number as its threshold, see `resolved`.
        neutral: the last column is the neutral name's, which is no answer.
        certainty: what a calibration says of the classes.
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
        scores = (logits / certainty.temperature).softmax(dim=-1)
    elif neutral:
        scores = (logits[:, :-1] - logits[:, -1:]).sigmoid()
    else:
        scores = (logits - (answering.offset or 0.0)).sigmoid()
    # By logits, because unequal ones may have equal probabilities: 0 or 1 at a small temperature.
    order_of_all = logits[:, : scores.shape[1]].cpu().sort(dim=-1, descending=True, stable=True).indices
    places = order_of_all[:, : answering.topk]
    values = scores.cpu().gather(1, places)
    inside = None if certainty.sets is None else certainty.sets.of(logits, certainty.temperature)
    assert answering.reject != "auto"
    least = 0.0 if answering.reject is None else float(answering.reject)
    said = None if thresholds is None else (scores >= least) & (logits >= thresholds.to(logits))
    for number, (row, order) in enumerate(zip(values.tolist(), places.tolist(), strict=True)):
        ranking = order_of_all[number].tolist()
        members = None if inside is None else [place for place in ranking if inside[number, place]]
        present = None if said is None else tuple(names[place] for place in ranking if said[number, place])
        yield Prediction(
            labels=tuple(names[place] for place in order),
            probabilities=tuple(row),
            indices=tuple(order),
            rejected=row[0] < least if present is None else not present,
            calibrated=certainty.is_calibrated,
            members=None if members is None else tuple(names[place] for place in members),
            member_indices=tuple(members or ()),
            present=present,
        )
