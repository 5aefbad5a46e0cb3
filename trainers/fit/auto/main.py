"""From own images to the method that suits them: what `adaptkit.fit(method="auto")` and `adaptkit train auto` call."""

import contextlib
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np

from adaptkit.front_door import FitArguments
from adaptkit.regular_file import user_path
from datasets_fewshot import FewShotDataset
from datasets_fewshot.splits.content_marks import content_marks
from datasets_fewshot.store.removal import plan_removal
from trainers.budget import Budget, read_budget
from trainers.config.values import ConfigError, check_name
from trainers.fit.auto.contenders import check_overrides
from trainers.fit.auto.given import SPLIT_FILE, load_given
from trainers.fit.auto.leaderboard import write_fold_logits, write_leaderboard
from trainers.fit.auto.plain import FILE as SPEEDS_FILE
from trainers.fit.auto.portfolio import Portfolio, read_portfolio
from trainers.fit.auto.result import AutoResult, with_leaderboard
from trainers.fit.auto.scores import METRICS, Metric
from trainers.fit.auto.searching import Asked, Searched, search
from trainers.fit.auto.trials import SUFFIX
from trainers.fit.checks import check_arguments
from trainers.fit.held_out import HeldOut, said
from trainers.fit.main import EMBEDDED, out_folder
from trainers.fit.main import fit as fit_one
from trainers.fit.own_data import own_settings
from trainers.fit.report import write_summary
from trainers.runs.records import RUNS_FOLDER
from trainers.runs.start import ZERO_SHOT

AUTO = "auto"
DEFAULT_BUDGET = "10min"
SEARCH_FOLDER = "search"  # among the runs of the adapter's folder


def fit_auto(asked: FitArguments, clock: Callable[[], float] = time.perf_counter) -> AutoResult:
    """Compare candidates on folds of the training images, train the best on all of them, and test it once.

    Trials are kept below the adapter's folder, and the same call goes on from them.

    Args:
        clock: what seconds are read from.

    Raises:
        ValueError: if the data, a name, a setting or the budget is wrong, or the budget is too small for one method.
    """
    begun = clock()
    metric, budget, portfolio = _checked(asked)
    check_arguments(asked)
    folder = out_folder(asked.out, user_path(asked.data, "data"), AUTO)
    place, was_there = folder / RUNS_FOLDER / SEARCH_FOLDER, folder.exists()
    given = load_given(asked, place)
    # From here on the split is the search's, which has been drawn and has its test part.
    asked = replace(asked, out=folder, shots=given.shots, split=given.split, redraw=False, val_as_test=False)
    settings = {**own_settings(asked), "SHOTS": [given.shots]}
    overrides, is_embedded = tuple(asked.overrides), asked.backbone == EMBEDDED
    of_search = Asked(
        portfolio, budget, metric, asked.seed, settings, overrides, is_embedded, place, begun, clock, asked.tell
    )
    try:
        found = search(given, of_search)
    except (ValueError, OSError):
        _forget_unbegun(place, was_there)
        raise
    asked.tell(found.leaderboard.decision)
    method, words = (ZERO_SHOT, ()) if found.chosen is None else (found.chosen.candidate.method, found.chosen.words())
    result = fit_one(
        replace(asked, method=method, overrides=(*overrides, *words)),
        f"auto: {found.leaderboard.decision}",
        _held_out(found, given.dataset) if asked.calibrate else None,
    )
    notes = tuple(dict.fromkeys((*given.notes, *result.notes)))
    whole = with_leaderboard(replace(result, notes=notes), found.leaderboard, found.fold_logits)
    write_leaderboard(found.leaderboard, folder)
    write_fold_logits(found.fold_logits, folder)
    write_summary(whole, folder)
    return whole


def _held_out(found: Searched, dataset: FewShotDataset) -> HeldOut | None:
    """What trainings like the refit said of every fold; None where the search had no time for them."""
    kept = found.fold_logits
    if kept is None or not found.in_full:
        return None
    items = {item.path: item for item in dataset.split.train}
    marks = content_marks(dataset, [items[path] for path in kept.images])
    source = f"{said(int(kept.fold.max()) + 1, len(kept.images))}, by which auto chose it"
    return HeldOut(kept.logits.astype(np.float64), kept.labels, marks, source)


def _forget_unbegun(place: Path, was_there: bool) -> None:
    """Remove what a search has written that ended before its first trial, with the folders that it made for it.

    Args:
        place: the folder of the search, inside of that of runs, inside of that of the adapter.
        was_there: whether the adapter's folder is older than the search.
    """
    if any(place.glob(f"*{SUFFIX}")):
        return
    plan_removal(place, [re.escape(SPLIT_FILE), re.escape(SPEEDS_FILE)]).carry_out()
    with contextlib.suppress(OSError):  # another training's files are there
        place.parent.rmdir()
        if not was_there:
            place.parent.parent.rmdir()


def _checked(asked: FitArguments) -> tuple[Metric, Budget, Portfolio]:
    """The metric, the budget and the portfolio, if the words of a search can be followed.

    Raises:
        ValueError: names what cannot be.
    """
    metric = asked.metric or METRICS[0]
    check_name("--metric", metric, METRICS)
    if asked.start_from is not None:
        raise ConfigError("a search starts every training anew; leave --start-from out, or name one method")
    if asked.wrap:
        raise ConfigError(
            f"a search compares methods without wrappers; leave --wrap {','.join(asked.wrap)} out, or name one method"
        )
    check_overrides(asked.overrides)
    portfolio, budget = read_portfolio(), read_budget(asked.budget or DEFAULT_BUDGET)
    return cast(Metric, metric), budget, portfolio.named(asked.candidates) if asked.candidates else portfolio
