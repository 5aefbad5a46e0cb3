"""A budget as it is written: a time such as "10min", or a number of optimiser steps such as "2000steps"."""

import re
from dataclasses import dataclass

WRITTEN = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>s|sec|min|h|steps?)")
SECONDS = {"s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0}
MOST = 1e9  # seconds or steps: more than thirty years of either


@dataclass(frozen=True)
class Budget:
    """What a search may spend: seconds or steps, of which the other is None."""

    written: str
    seconds: float | None
    steps: int | None

    @property
    def amount(self) -> float:
        """Seconds or steps."""
        return float(self.steps or 0) if self.seconds is None else self.seconds

    @property
    def unit(self) -> str:
        """ "s" or "steps"."""
        return "steps" if self.seconds is None else "s"

    def said(self, amount: float) -> str:
        """An amount in this budget's unit, for people: "12.5 s", or "300 steps"."""
        return f"{amount:.0f} steps" if self.seconds is None else f"{amount:.1f} s"


def read_budget(written: str) -> Budget:
    """A budget of a user's words.

    Raises:
        ValueError: if it is no number with a unit, or not above 0.
    """
    found = WRITTEN.fullmatch(written.strip())
    number = float(found["number"]) if found else 0.0
    if found is None or not 0 < number <= MOST:
        raise ValueError(f"{written!r}; expected a time or a number of steps above 0, such as 90s, 10min or 2000steps")
    unit = found["unit"]
    if unit in SECONDS:
        return Budget(written.strip(), number * SECONDS[unit], None)
    if number != int(number):
        raise ValueError(f"{written!r}; expected a whole number of steps, such as 2000steps")
    return Budget(written.strip(), None, int(number))
