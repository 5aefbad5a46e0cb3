"""Certainty: a calibration as it applies to the classes of now, resolved once for all images of a call."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from adaptkit.calibration.calibration import Calibration
from adaptkit.calibration.conformal import (
    CoverageOf,
    SetScore,
    check_coverage,
    conformal_threshold,
    least_images,
    mass_above,
    set_scores,
    thresholds_of_classes,
    uniform_draws,
)
from adaptkit.classes.class_set import ClassSet


@dataclass(frozen=True)
class PredictionSets:
    """Which classes are in the set of an image: those whose score is no higher than their threshold.

    Args:
        thresholds: (C,) in the order of the classes of now; infinite for a class that is in every set.
    """

    score: SetScore
    coverage: float
    thresholds: Tensor

    def of(self, logits: Tensor, temperature: float) -> Tensor:
        """Logits (B, C) -> whether each class is in the set of each image: (B, C)."""
        own, above = mass_above(logits.cpu(), temperature)
        return set_scores(own, above, self.score, uniform_draws(logits)[:, None]) <= self.thresholds


@dataclass(frozen=True)
class Certainty:
    """What turns logits into calibrated probabilities, and into sets where a coverage was asked for."""

    temperature: float = 1.0
    is_calibrated: bool = False
    sets: PredictionSets | None = None


PLAIN = Certainty()


def certainty_of(
    calibration: Calibration | None,
    classes: ClassSet,
    coverage: float | None = None,
    score: SetScore = "lac",
    coverage_of: CoverageOf = "images",
) -> Certainty:
    """What a calibration says of the classes of now; warns where they are others, or images are too few for sets.

    Raises:
        ValueError: if sets are asked for and there is no calibration, or it was fitted for other classes.
    """
    if calibration is None:
        if coverage is not None:
            raise ValueError(
                f"coverage={coverage:g} cannot be promised, because this method has no calibration; fit one on "
                "held-out labelled images with `adaptkit calibrate ADAPTER --data IMAGES`, or train with --calibrate"
            )
        return PLAIN
    places = calibration.places_in(classes)
    then, now = _shown(calibration.classnames), _shown(classes.classnames)
    if set(classes.classnames) == set(calibration.classnames):
        now = "the same names in other prompts"
    if places is None and coverage is not None:
        raise ValueError(
            f"coverage={coverage:g} cannot be promised for {now}: the calibration was fitted for {then}, and no "
            "held-out image says anything of others; ask for probabilities without sets, or calibrate on images of "
            "these classes"
        )
    if places is None:
        warnings.warn(
            f"the temperature {calibration.temperature:.3g} was fitted for {then} and is used for {now}, for which "
            "nobody has checked it",
            stacklevel=2,
        )
        return Certainty(calibration.temperature, is_calibrated=True)
    sets = None if coverage is None else prediction_sets(calibration, places, coverage, score, coverage_of)
    return Certainty(calibration.temperature, is_calibrated=True, sets=sets)


def prediction_sets(
    calibration: Calibration, places: Sequence[int], coverage: float, score: SetScore, coverage_of: CoverageOf
) -> PredictionSets:
    """The sets that a calibration promises; warns where its images are too few.

    Args:
        places: of its C classes among the classes of now, C numbers.

    Raises:
        ValueError: if the coverage is not between 0 and 1.
    """
    check_coverage(coverage)
    scores, labels = held_out_scores(calibration, score), torch.tensor(calibration.labels)
    n_classes = len(calibration.classnames)
    if coverage_of == "images":
        own = torch.full((n_classes,), conformal_threshold(scores, coverage), dtype=torch.float64)
    else:
        own = thresholds_of_classes(scores, labels, n_classes, coverage)
    endless = int(own.isinf().sum())
    if endless:
        _warn_of_few(calibration, coverage, endless if coverage_of == "classes" else None)
    thresholds = torch.empty_like(own)
    thresholds[list(places)] = own
    return PredictionSets(score, coverage, thresholds)


def _warn_of_few(calibration: Calibration, coverage: float, endless: int | None) -> None:
    """Warn that classes are in every set, `endless` of them, or all where images are counted over all classes."""
    least = f"{100 * coverage:g} % coverage takes {least_images(coverage)} or more held-out images"
    if endless is None:
        said = f"{least}, and the calibration has {len(calibration)}; so every set has all classes"
    else:
        count = len(calibration.classnames)
        said = f"{least} of a class, and {endless} of {count} classes have fewer; so these are in every set"
    warnings.warn(said, stacklevel=3)


def held_out_scores(calibration: Calibration, score: SetScore) -> Tensor:
    """The scores (N,) of the held-out images' right classes."""
    columns = (calibration.own, calibration.above, calibration.u)
    own, above, u = (torch.tensor(values, dtype=torch.float64) for values in columns)
    return set_scores(own, above, score, u)


def _shown(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
