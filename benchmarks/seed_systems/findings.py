"""Findings: a claim, the numbers that were measured for it, and whether it carries over."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["carries over", "in part", "does not", "not tested"]


@dataclass(frozen=True)
class Value:
    """A measured number with its standard error; None where it is exact or was measured once, which `what` says."""

    what: str  # the quantity and what it was measured on, such as "accuracy with descriptors"
    value: float
    error: float | None = None
    unit: str = "%"

    @property
    def text(self) -> str:
        """The number as tables show it, such as "61.3 ± 0.4 %"."""
        digits = 1 if self.unit in ("%", "points", "ms") else 3
        spread = "" if self.error is None else f" ± {self.error:.{digits}f}"
        return f"{self.value:.{digits}f}{spread} {self.unit}".rstrip()


@dataclass(frozen=True)
class Finding:
    """One claim and what was seen of it."""

    claim: str  # what the paper says, in a sentence
    source: str  # where it says so: "abstract", "released logs", or "ours" for what only our adaptation claims
    setting: str  # data, classes, seeds and training, in a sentence
    values: tuple[Value, ...]
    verdict: Verdict
    why: str  # what the numbers say, in a sentence or two; nothing that they do not say


def over(what: str, values: Sequence[float], unit: str = "%") -> Value:
    """The mean of repeated measurements, such as seeds or data sets, with its standard error."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return Value(what, statistics.fmean(values), error, unit)


def share(what: str, right: Sequence[bool] | Sequence[int]) -> Value:
    """The share of right answers in percent, with its binomial standard error in percentage points."""
    part = sum(map(bool, right)) / len(right)
    return Value(what, 100 * part, 100 * math.sqrt(part * (1 - part) / len(right)))


def difference(what: str, first: Sequence[float], second: Sequence[float], unit: str = "points") -> Value:
    """The mean of paired differences, first minus second, with its standard error."""
    return over(what, [one - other for one, other in zip(first, second, strict=True)], unit)
