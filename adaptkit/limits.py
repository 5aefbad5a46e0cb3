"""Limits: the values that a number or a text may have, with their words for messages and tables."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Where a number may lie. It has to be finite, unless an end is infinite and belongs to the range.

    Text that has to be `filled` holds more than blanks.
    """

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    filled: bool = False

    def problem(self, number: float) -> str | None:
        """What was expected of a number that lies elsewhere; None for one that is allowed."""
        if isinstance(number, float) and not math.isfinite(number) and number not in (self.least, self.most):
            return "expected a finite number"
        inside = (
            (self.least is None or number >= self.least)
            and (self.most is None or number <= self.most)
            and (self.above is None or number > self.above)
            and (self.below is None or number < self.below)
        )
        return None if inside else f"expected {self}"

    def __str__(self) -> str:
        if self.least is not None and self.most is not None:
            return f"{_plain(self.least)} to {_plain(self.most)}"
        ends = (
            self.least is not None and f"{_plain(self.least)} or more",
            self.above is not None and f"more than {_plain(self.above)}",
            self.most is not None and f"at most {_plain(self.most)}",
            self.below is not None and f"below {_plain(self.below)}",
            self.filled and "not empty",
        )
        return " and ".join(end for end in ends if end)


def _plain(end: float) -> str:
    return str(end) if isinstance(end, int) else f"{end:g}"
