"""Scores of images with several labels: how each label ranks the images, and its answers at a threshold.

Average precision is scikit-learn's, with P_n and R_n precision and recall at the n-th highest of the different scores:
    AP = sum_n (R_n - R_(n-1)) P_n
Its mean (mAP) is over the labels that some image has. An image is answered with every label whose log odds reach its
threshold; micro F1 counts all answers together, and macro F1 is the mean over the labels that some image has.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainers.evaluation.scoring import Bools, Floats, wilson_interval


@dataclass(frozen=True)
class LabelResult:
    """What became of one label; rates in percent, None where a division by 0 stands."""

    index: int
    name: str
    images: int  # that have it
    answered: int  # that are answered with it
    correct: int
    average_precision: float | None
    threshold: float  # score from 0 to 1 from which it is an answer

    @property
    def precision(self) -> float | None:
        """The share of the answers that are right."""
        return 100 * self.correct / self.answered if self.answered else None

    @property
    def recall(self) -> float | None:
        """The share of the images with the label that are answered with it."""
        return 100 * self.correct / self.images if self.images else None

    @property
    def f1(self) -> float | None:
        """The harmonic mean of precision and recall, 2 TP / (2 TP + FP + FN)."""
        return f1(self.correct, self.answered, self.images)


@dataclass(frozen=True)
class LabelJudgement:
    """All results of one test of several labels; rates in percent."""

    images: int
    labels: tuple[LabelResult, ...]
    exact: int  # images with exactly the right labels

    @property
    def mean_average_precision(self) -> float:
        """Over the labels that some image has."""
        return float(np.mean([one.average_precision for one in self.labels if one.average_precision is not None]))

    @property
    def micro_f1(self) -> float:
        """Of all answers of all labels together."""
        sums = [sum(getattr(one, name) for one in self.labels) for name in ("correct", "answered", "images")]
        return f1(*sums) or 0.0

    @property
    def macro_f1(self) -> float:
        """The mean over the labels that some image has."""
        return float(np.mean([one.f1 for one in self.labels if one.images]))

    @property
    def accuracy(self) -> float:
        """The share of images with exactly the right labels (subset accuracy)."""
        return 100 * self.exact / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy."""
        return wilson_interval(self.exact, self.images)


def f1(correct: int, answered: int, images: int) -> float | None:
    """F1 in percent; None where there is neither an answer nor an image."""
    return 200 * correct / (answered + images) if answered + images else None


def average_precision(scores: Floats, has_label: Bools) -> float | None:
    """Average precision of one label over N images, in percent; None where no image has the label.

    Args:
        scores: (N,), higher where the label is more likely; images of one score stand at one place.
        has_label: (N,).
    """
    total = int(has_label.sum())
    if not total:
        return None
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], np.cumsum(has_label[order])
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)  # of the images of each different score
    precision, recall = hits[last] / (last + 1), hits[last] / total
    return float(100 * np.sum(np.diff(recall, prepend=0.0) * precision))


def judge_labels(logits: Floats, targets: Bools, thresholds: Floats, names: Sequence[str]) -> LabelJudgement:
    """Judge log odds (N, C) of images with labels (N, C), answered from thresholds (C,) of log odds on.

    Raises:
        ValueError: if shapes differ, a number is not finite, or no image has a label.
    """
    if logits.shape != targets.shape or thresholds.shape != (len(names),) or logits.shape[1:] != (len(names),):
        raise ValueError(
            f"log odds {logits.shape}, labels {targets.shape} and thresholds {thresholds.shape} of {len(names)} names; "
            "expected (N, C), (N, C) and (C,)"
        )
    if not np.isfinite(logits).all():
        raise ValueError("a logit is not finite, so no label is ranked; did the training diverge?")
    if not targets.any():
        raise ValueError("no image has any of the labels, so there is nothing to rank; give images that have some")
    answers = logits >= thresholds
    cuts = sigmoid(thresholds)
    rows = tuple(
        LabelResult(
            place,
            name,
            images=int(targets[:, place].sum()),
            answered=int(answers[:, place].sum()),
            correct=int((answers & targets)[:, place].sum()),
            average_precision=average_precision(logits[:, place], targets[:, place]),
            threshold=float(cuts[place]),
        )
        for place, name in enumerate(names)
    )
    return LabelJudgement(len(logits), rows, exact=int((answers == targets).all(axis=1).sum()))


def sigmoid(log_odds: Floats) -> Floats:
    """Log odds -> scores from 0 to 1."""
    return np.exp(-np.logaddexp(0.0, -log_odds))


def best_threshold(scores: Floats, has_label: Bools) -> tuple[float, float]:
    """The threshold with the best F1 over N images, and that F1 in percent.

    A threshold lies in the middle between two neighbouring scores. Of equally good ones the one nearest to 0, which is
    where a label is as likely there as not, is taken.

    Args:
        scores: log odds (N,).
        has_label: (N,), true for one image at least.

    Raises:
        ValueError: if no image has the label.
    """
    total = int(has_label.sum())
    if not total:
        raise ValueError("no image has the label, so no threshold is better than another")
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], np.cumsum(has_label[order])
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    found = 200 * hits[last] / (last + 1 + total)
    below = np.append(ordered[1:], ordered[-1] - 2.0)[last]  # the next lower score; below all, one less than the least
    cuts = (ordered[last] + below) / 2
    best = np.flatnonzero(found >= found.max() - 1e-9)
    place = best[np.argmin(np.abs(cuts[best]))]
    return float(cuts[place]), float(found[place])


def choose_thresholds(
    log_odds: Floats, targets: Bools, least_positives: int
) -> tuple[npt.NDArray[np.float64], tuple[int, ...]]:
    """Thresholds (C,) of log odds for each label, chosen on N images that were not learnt from.

    A label that fewer images have than `least_positives` takes the threshold that is best for all labels together.

    Args:
        log_odds: (N, C).
        targets: (N, C).

    Returns:
        The thresholds, and the labels that take the common one.
    """
    if not targets.any():
        return np.zeros(targets.shape[1]), tuple(range(targets.shape[1]))
    common, _ = best_threshold(log_odds.ravel(), targets.ravel())
    few = tuple(np.flatnonzero(targets.sum(axis=0) < least_positives).tolist())
    thresholds = [
        common if place in few else best_threshold(log_odds[:, place], targets[:, place])[0]
        for place in range(targets.shape[1])
    ]
    return np.array(thresholds), few
