"""From own images to the method that suits them: what `adaptkit.fit(method="auto")` and `adaptkit train auto` call."""

import contextlib
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from adaptkit.backbone.devices import choose_device
from adaptkit.regular_file import user_path
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
from trainers.fit.auto.searching import Asked, search
from trainers.fit.auto.trials import SUFFIX
from trainers.fit.checks import check_calibrate, check_words
from trainers.fit.main import EMBEDDED, RUNS_FOLDER, out_folder, say_nothing
from trainers.fit.main import fit as fit_one
from trainers.fit.own_settings import own_settings
from trainers.fit.report import write_summary
from trainers.runs.start import ZERO_SHOT

AUTO = "auto"
DEFAULT_BUDGET = "10min"
SEARCH_FOLDER = "search"  # among the runs of the adapter's folder


def fit_auto(
    data: str | Path,
    out: str | Path | None = None,
    *,
    budget: str | None = None,
    metric: Metric = "balanced_accuracy",
    candidates: Sequence[str] = (),
    shots: int | None = None,
    seed: int = 1,
    backbone: str = EMBEDDED,
    pretrained: str | None = None,
    checkpoint: str | Path | None = None,
    image_size: int | None = None,
    classnames: str | Path | None = None,
    templates: Sequence[str] = (),
    split: str | Path | None = None,
    skip_bad: bool = False,
    path_column: str | None = None,
    label_column: str | None = None,
    encoding: str | None = None,
    redraw: bool = False,
    val_as_test: bool = False,
    device: str = "auto",
    start_from: str | Path | None = None,
    describe: str | Path | None = None,
    wrap: Sequence[str] = (),
    calibrate: bool = False,
    most_false_rejections: float | None = None,
    overrides: Sequence[str] = (),
    on_message: Callable[[str], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> AutoResult:
    """Compare candidates on folds of the training images, train the best on all of them, and test it once.

    The arguments are those of `adaptkit.fit`. Trials are kept below the adapter's folder, and the same call goes on
    from them.

    Args:
        clock: what seconds are read from.

    Raises:
        ValueError: if the data, a name, a setting or the budget is wrong, or the budget is too small for one method.
    """
    begun, tell = clock(), on_message or say_nothing
    allowed, portfolio = _checked(budget, metric, candidates, start_from, wrap, overrides)
    check_words(data=data, out=out, classnames=classnames, split=split, checkpoint=checkpoint, device=device)
    check_calibrate(calibrate, most_false_rejections, start_from)
    choose_device(device)
    if shots is not None and shots < 1:
        raise ValueError(f"shots={shots}; expected 1 or more training images per class, or None for what there is")
    folder = out_folder(out, user_path(data, "data"), AUTO)
    place, was_there = folder / RUNS_FOLDER / SEARCH_FOLDER, folder.exists()
    given = load_given(
        data,
        place,
        shots,
        seed,
        split=split,
        classnames=classnames,
        skip_bad=skip_bad,
        path_column=path_column,
        label_column=label_column,
        encoding=encoding,
        redraw=redraw,
        val_as_test=val_as_test,
    )
    settings = own_settings(
        data,
        seed,
        device=device,
        backbone=backbone,
        pretrained=pretrained,
        checkpoint=checkpoint,
        image_size=image_size,
        classnames=classnames,
        split=given.split,
        skip_bad=skip_bad,
        path_column=path_column,
        label_column=label_column,
        encoding=encoding,
        val_as_test=False,
        templates=templates,
        describe=describe,
    )
    settings["SHOTS"] = [given.shots]
    asked = Asked(
        portfolio, allowed, metric, seed, settings, tuple(overrides), backbone == EMBEDDED, place, begun, clock, tell
    )
    try:
        found = search(given, asked)
    except (ValueError, OSError):
        _forget_unbegun(place, was_there)
        raise
    tell(found.leaderboard.decision)
    result = fit_one(
        ZERO_SHOT if found.chosen is None else found.chosen.candidate.method,
        data,
        folder,
        shots=given.shots,
        seed=seed,
        backbone=backbone,
        pretrained=pretrained,
        checkpoint=checkpoint,
        image_size=image_size,
        classnames=classnames,
        templates=templates,
        split=given.split,
        skip_bad=skip_bad,
        path_column=path_column,
        label_column=label_column,
        encoding=encoding,
        device=device,
        describe=describe,
        calibrate=calibrate,
        most_false_rejections=most_false_rejections,
        overrides=(*overrides, *(() if found.chosen is None else found.chosen.words())),
        on_message=on_message,
        why=f"auto: {found.leaderboard.decision}",
    )
    notes = tuple(dict.fromkeys((*given.notes, *result.notes)))
    whole = with_leaderboard(replace(result, notes=notes), found.leaderboard, found.fold_logits)
    write_leaderboard(found.leaderboard, folder)
    write_fold_logits(found.fold_logits, folder)
    write_summary(whole, folder)
    return whole


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


def _checked(
    budget: str | None,
    metric: str,
    candidates: Sequence[str],
    start_from: str | Path | None,
    wrap: Sequence[str],
    overrides: Sequence[str],
) -> tuple[Budget, Portfolio]:
    """The budget and the portfolio, if the words of a search can be followed.

    Raises:
        ValueError: names what cannot be.
    """
    check_name("--metric", metric, METRICS)
    if start_from is not None:
        raise ConfigError("a search starts every training anew; leave --start-from out, or name one method")
    if wrap:
        raise ConfigError(
            f"a search compares methods without wrappers; leave --wrap {','.join(wrap)} out, or name one method"
        )
    check_overrides(overrides)
    portfolio = read_portfolio()
    return read_budget(budget or DEFAULT_BUDGET), portfolio.named(candidates) if candidates else portfolio
