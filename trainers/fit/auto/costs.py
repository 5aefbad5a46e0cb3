"""What trials and a refit cost, in the unit of the budget.

In steps every cost is known beforehand. In seconds it is estimated from what trials of the same method have taken: a
part that does not depend on the length, and a part for each step. What is fitted in one go cannot be tried in short;
its first trial is taken to last as long as the longest such trial so far, of any method. Seconds are those that trials
wrote down, so that a search that goes on after an interruption counts as one that was not interrupted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from trainers.budget import Budget
from trainers.fit.auto.contenders import Contender

MARGIN = 1.1  # of estimates over what was measured
BACKWARD = 3  # a step of a tower costs as much as so many forward passes
PROBES = (1, 3)  # lengths of the trainings by which a method's speed is measured


@dataclass(frozen=True)
class Speeds:
    """Seconds that were measured before the first trial."""

    image: float  # one image through the image tower
    texts: float  # the texts of all classes through the text tower
    begun: float  # until the first trial: loading, checking and encoding


class Costs:
    """The budget, what of it is spent, and what trials will take."""

    def __init__(self, budget: Budget, speeds: Speeds, test_images: int):
        self.budget, self.speeds, self.test_images = budget, speeds, test_images
        self.spent = self.begun = speeds.begun if budget.seconds is not None else 0.0
        self._points: dict[str, dict[int, float]] = {}  # by method: length -> seconds of a trial
        self._longest_fit = 0.0  # seconds of a trial in one go, of any method

    @property
    def in_seconds(self) -> bool:
        """Whether the budget is a time."""
        return self.budget.seconds is not None

    def take(self, loop: Sequence[Contender], length: int, seconds: float) -> None:
        """Count a trial of one fold."""
        points = self._points.setdefault(loop[0].candidate.method, {})
        points[length] = max(points.get(length, 0.0), seconds)
        if not loop[0].candidate.length:
            self._longest_fit = max(self._longest_fit, seconds)
        self.spent += seconds if self.in_seconds else self.steps(loop, length)

    def steps(self, loop: Sequence[Contender], length: int) -> int:
        """Steps of a trial: none where nothing can be cut short."""
        return sum(length for one in loop if one.candidate.length)

    def trial(self, loop: Sequence[Contender], length: int) -> float:
        """What a trial of one fold will take."""
        if not self.in_seconds:
            return self.steps(loop, length)
        return MARGIN * max(self._measured(loop[0], length), self._least(loop[0], length))

    def refit(self, one: Contender | None) -> float:
        """What a whole training and the test will take; of None, the test of zero-shot alone."""
        if not self.in_seconds:
            return one.full if one is not None and one.candidate.length else 0
        passes = 3 if one is not None and one.consumes == "images" else 1
        test = passes * self.test_images * self.speeds.image
        train = 0.0 if one is None else max(self._measured(one, one.full), self._least(one, one.full))
        return MARGIN * (test + train)

    def fits(self, more: float, refit: float, until: float = 1.0) -> bool:
        """Whether so much more can be spent before a refit.

        Args:
            until: the share of what there is for trials that may be spent then.
        """
        return self.spent + more <= self.begun + until * (self.budget.amount - self.begun - refit)

    def knows_speed(self, one: Contender) -> bool:
        """Whether two lengths of a method's trials were measured, or one where there is only one."""
        return len(self._points.get(one.candidate.method, {})) > (1 if one.candidate.length else 0)

    def _measured(self, one: Contender, length: int) -> float:
        points = self._points.get(one.candidate.method, {})
        if not points:
            return 0.0 if one.candidate.length else self._longest_fit
        shortest, longest = min(points), max(points)
        if one.candidate.length is None:
            return points[longest]
        if shortest == longest:
            return points[longest] * max(1.0, length / max(1, longest))
        slope = max(0.0, (points[longest] - points[shortest]) / (longest - shortest))
        return max(0.0, points[shortest] - slope * shortest) + slope * length

    def _least(self, one: Contender, length: int) -> float:
        """Seconds that the towers alone take."""
        if one.consumes == "images":
            return BACKWARD * one.config(length).optim.batch_size * self.speeds.image * length
        return (BACKWARD - 1) * self.speeds.texts * length if one.candidate.tier == "prompts" else 0.0
