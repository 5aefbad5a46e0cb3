"""Settings of a single training that follow from the number of images; settings by the user take precedence.

A recipe counts epochs, which is right for the data sets of its paper. With five images its epochs are a handful of
steps, with fifty thousand they are days. Here the steps are kept within bounds, and so is the number of random views
that a method on features has to encode in advance.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from adaptkit import method_class
from adaptkit.contract.method import Consumes
from trainers.config.files import read_packaged
from trainers.config.settings import RunConfig
from trainers.feeding.views import batch_bounds

EMBEDDED = "adaptkit-mini"  # the backbone that the embedded suite was tuned for
RECIPE_SHOTS = (16, 8, 4, 2, 1)  # shots that recipes have settings for
MIN_STEPS = 100  # fewest optimiser steps
MAX_STEPS: Mapping[str, int] = {"features": 3000, "tokens": 1000, "images": 1000}  # by kind of input
MAX_VIEWS = 5000  # most views of training images to encode in advance


def default_shots(images_per_class: Sequence[int]) -> int:
    """The largest number of shots in RECIPE_SHOTS for which half of the classes have enough training images."""
    middle = sorted(images_per_class)[len(images_per_class) // 2]
    return next((shots for shots in RECIPE_SHOTS if shots <= middle), 1)


def size_settings(run: RunConfig, images: int, consumes: Consumes) -> dict[str, object]:
    """KEY -> value for settings by which the recipe's training would be too short or too long for `images` images."""
    optim, views = run.optim, run.views
    most = MAX_STEPS[consumes]
    settings: dict[str, object] = {}
    epochs = optim.epochs
    if optim.steps > most:
        settings["OPTIM.STEPS"] = most
    elif optim.epochs and not optim.steps:
        batches = len(batch_bounds(images, optim.batch_size, optim.drop_last))
        steps = min(max(optim.epochs * batches, MIN_STEPS), most)
        epochs = max(1, -(-steps // batches))
        if epochs * batches > most:
            epochs = max(1, most // batches)
        if epochs != optim.epochs:
            settings["OPTIM.EPOCHS"] = epochs
            settings |= _options_in_epochs(run, epochs / optim.epochs)
    if consumes == "features" and views.augment == "exact" and images * max(epochs, 1) > MAX_VIEWS:
        n_views = MAX_VIEWS // images
        settings |= {"VIEWS.AUGMENT": "pool", "VIEWS.N_VIEWS": n_views} if n_views > 1 else {"VIEWS.AUGMENT": "none"}
    return settings


def _options_in_epochs(run: RunConfig, ratio: float) -> dict[str, object]:
    """KEY -> value of the method's options that count epochs, as `option` declares them, scaled by `ratio`."""
    counted = [entry.name for entry in dataclasses.fields(run.options) if entry.metadata.get("in_epochs")]
    return {f"{run.method}.{name}".upper(): _scaled(getattr(run.options, name), ratio) for name in counted}


def _scaled(epochs: float, ratio: float) -> float:
    return max(1, round(epochs * ratio)) if isinstance(epochs, int) else epochs * ratio


def embedded_settings(method: str) -> dict[str, object]:
    """KEY -> value of the settings that were tuned for a method on the embedded suite and backbone.

    Those of single data sets are left out: emoji have theirs because they are tested on drawings of another family.
    """
    suite = read_packaged("suites", "mini")
    found = _flat({"VIEWS": suite["VIEWS"]})
    cases = suite["WHEN"]
    assert isinstance(cases, list)
    for case in cases:
        conditions = set(case) - {"THEN"}
        if conditions <= {"METHOD", "CONSUMES"} and _holds(case, method):
            found |= _flat(case["THEN"])
    return found


def _holds(case: Mapping[str, Any], method: str) -> bool:
    names = case.get("METHOD", method)
    return (
        method in ([names] if isinstance(names, str) else names)
        and case.get("CONSUMES", method_class(method).consumes) == method_class(method).consumes
    )


def _flat(nested: Mapping[str, object]) -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in nested.items():
        flat |= {f"{key}.{name}": inner for name, inner in value.items()} if isinstance(value, dict) else {key: value}
    return flat
