"""What `adaptkit.fit` and `adaptkit train` call: a method by its name, or "auto" for one that is chosen."""

from adaptkit import FitResult
from adaptkit.front_door import FitArguments
from trainers.config.values import ConfigError
from trainers.fit.auto.main import AUTO, fit_auto
from trainers.fit.main import fit as fit_one


def fit(asked: FitArguments) -> FitResult:
    """Train, test and save a method, or with "auto" the one that does best on held-out training images.

    Raises:
        ConfigError: if something is said about a search, and a method is named.
    """
    if asked.method == AUTO:
        return fit_auto(asked)
    for name, value in (("budget", asked.budget), ("metric", asked.metric), ("candidates", asked.candidates)):
        if value:
            raise ConfigError(
                f"{name}={value!r} is of auto, and {asked.method} is one method; leave it out, or take auto"
            )
    return fit_one(asked)
