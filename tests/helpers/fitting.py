"""What a training is asked for, with what `adaptkit.fit` takes for the rest."""

import inspect
from typing import Any

from adaptkit import fit
from adaptkit.front_door import FitArguments


def asked(*given: Any, **named: Any) -> FitArguments:
    """The arguments of a call of `adaptkit.fit`."""
    call = inspect.signature(fit).bind(*given, **named)
    call.apply_defaults()
    return FitArguments(**call.arguments)
