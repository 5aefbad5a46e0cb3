"""What `adaptkit.fit` and `adaptkit train` call: a method by its name, or "auto" for one that is chosen."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from adaptkit import FitResult
from trainers.config.values import ConfigError
from trainers.fit.auto.main import AUTO, fit_auto
from trainers.fit.auto.scores import METRICS, Metric
from trainers.fit.main import fit as fit_one


def fit(
    method: str,
    data: str | Path,
    out: str | Path | None = None,
    *,
    budget: str | None = None,
    metric: str | None = None,
    candidates: Sequence[str] = (),
    **arguments: Any,
) -> FitResult:
    """Train, test and save a method, or with "auto" the one that does best on held-out training images.

    Args:
        arguments: the others of `adaptkit.fit`.

    Raises:
        ConfigError: if something is said about a search, and a method is named.
    """
    if method == AUTO:
        chosen = cast(Metric, metric or METRICS[0])
        return fit_auto(data, out, budget=budget, metric=chosen, candidates=candidates, **arguments)
    for name, value in (("budget", budget), ("metric", metric), ("candidates", candidates)):
        if value:
            raise ConfigError(f"{name}={value!r} is of auto, and {method} is one method; leave it out, or take auto")
    return fit_one(method, data, out, **arguments)
