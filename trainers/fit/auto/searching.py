"""One search: from training images and candidates to what is chosen, with its leaderboard."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from datasets_fewshot.store.cache_folder import cache_folder
from trainers.bench.plan import open_bench
from trainers.budget import Budget
from trainers.config.load import load_bench
from trainers.feeding.encoded_pool import PoolEncoder
from trainers.fit.auto.alike import alike, all_alike
from trainers.fit.auto.board import Compared, fold_logits, rows_of, rows_without_folds
from trainers.fit.auto.choice import Choice, choose
from trainers.fit.auto.contenders import Contender, make_contenders
from trainers.fit.auto.costs import Costs, Speeds
from trainers.fit.auto.given import Given
from trainers.fit.auto.leaderboard import FoldLogits
from trainers.fit.auto.plain import kept_speeds, plain, seconds_per_image
from trainers.fit.auto.portfolio import Portfolio
from trainers.fit.auto.scores import Metric
from trainers.fit.auto.search import Search
from trainers.fit.auto.trials import Ground, Trials
from trainers.fit.checks import check_names
from trainers.fit.folds import Folds, make_folds
from trainers.report.decision.leaderboard import Leaderboard
from trainers.runs.class_texts import read_classes
from trainers.runs.start import ZERO_SHOT

LEAST_SHARE = 0.5  # of the classes that folds hold out: below it, held-out images say too little


@dataclass(frozen=True)
class Asked:
    """What a search is asked for."""

    portfolio: Portfolio
    budget: Budget
    metric: Metric
    seed: int
    settings: dict[str, object]  # of all its runs
    overrides: tuple[str, ...]  # by the user
    is_embedded: bool  # the backbone, for which settings are tuned
    folder: Path  # for trials
    begun: float  # when the clock says that it began
    clock: Callable[[], float]
    tell: Callable[[str], None]


@dataclass(frozen=True)
class Searched:
    """What a search found."""

    chosen: Contender | None  # None is zero-shot
    leaderboard: Leaderboard
    fold_logits: FoldLogits | None
    in_full: bool = False  # whether it was trained like the refit, once for every fold


def search(given: Given, asked: Asked) -> Searched:
    """Compare the candidates on folds of the training images; no test image is read.

    Raises:
        ValueError: if no candidate can take part, all images are alike, or the budget is too small for one method.
    """
    config = load_bench(None, asked.overrides, {**asked.settings, "METHODS": [ZERO_SHOT]})
    opened = open_bench(config, asked.folder, cache_folder() / "features")
    dataset, items = given.dataset, given.dataset.split.train
    bench = replace(opened, encoder=PoolEncoder(opened.encoder, items))
    classes = read_classes(config.runs[0], dataset.classnames, bench.backbone.tokenizer)
    check_names(classes, bench.backbone)
    features = bench.encoder.plain_features(dataset, items)
    if all_alike(features):
        raise ValueError(
            f"all {len(items)} training images of {dataset.name} look alike to {bench.backbone.name}, so no method can "
            "tell the classes apart; give images that differ, or another backbone"
        )
    contenders, left_out = make_contenders(
        asked.portfolio.candidates,
        asked.settings,
        asked.overrides,
        asked.is_embedded,
        bench,
        dataset.classnames,
        len(items),
    )
    if not contenders:
        reasons = "; ".join(f"{label}: {why}" for label, why in left_out.items())
        raise ValueError(f"no candidate can take part, so there is nothing to compare with zero-shot: {reasons}")
    labels = [item.label for item in items]
    folds = make_folds(labels, alike(features, labels), asked.seed)
    trials = Trials(Ground(bench, dataset, items, folds, dataset.classnames, asked.folder, asked.clock))
    without = plain(bench, dataset, items, classes, asked.clock)

    def measure() -> Speeds:
        image = seconds_per_image(bench, dataset, items, asked.clock)
        return Speeds(image, without.text_seconds, asked.clock() - asked.begun)

    costs = Costs(asked.budget, kept_speeds(asked.folder, trials.facts, measure), len(dataset.split.test))
    if not _say_enough(folds, labels):
        return _by_prior(contenders, left_out, costs, given, asked)
    never = len(items) - sum(map(len, folds.held))
    asked.tell(f"{len(contenders)} candidates, {len(folds.held)} folds of {len(items)} training images")
    halving = Search(contenders, trials, costs, without.answers, asked.metric, asked.tell)
    reached = halving.run()
    if not any(one.rung for one in halving.standings):
        raise ValueError(_too_small(contenders, halving, costs))
    if reached:
        choice = choose(reached, halving.hits, asked.metric)
    else:
        choice = Choice(None, "zero-shot is kept: every training that there was budget for diverged")
    compared = Compared(halving.standings, folds, np.array(labels, dtype=np.int64), without, choice)
    notes = () if not never else (f"{never} images have no other of their class to learn from and were never held out",)
    board = Leaderboard(
        choice.sentence,
        ZERO_SHOT if choice.standing is None else choice.standing.contender.label,
        asked.metric,
        asked.budget.written,
        costs.budget.said(costs.spent),
        asked.seed,
        len(items),
        len(compared.places),
        compared.reached,
        rows_of(compared, left_out, asked.metric),
        notes,
    )
    chosen, logits = choice.standing, fold_logits(compared, [item.path for item in items])
    if chosen is None:
        return Searched(None, board, logits)
    return Searched(chosen.contender, board, logits, in_full=chosen.rung == halving.rungs[-1])


def _say_enough(folds: Folds, labels: Sequence[int]) -> bool:
    """Whether two classes and half of all are held out by some fold."""
    held = {labels[place] for fold in folds.held for place in fold}
    return len(held) >= max(2, LEAST_SHARE * len(set(labels)))


def _by_prior(
    contenders: Sequence[Contender], left_out: dict[str, str], costs: Costs, given: Given, asked: Asked
) -> Searched:
    """What is taken where nothing can be held out: the first of the portfolio's order that the budget has room for."""
    first = [next((one for one in contenders if one.candidate.method == name), None) for name in asked.portfolio.prior]
    chosen = next((one for one in first if one is not None and costs.fits(0.0, costs.refit(one))), None)
    why = (
        "most classes have a single image to learn from (or copies of one), so none can be held out and nothing was "
        "compared"
    )
    if chosen is None:
        sentence = f"zero-shot is kept: {why}, and there is no budget for {', '.join(asked.portfolio.prior)}"
    else:
        sentence = f"{chosen.label} is taken untested, as the first in the order of configs/auto.yaml: {why}"
    board = Leaderboard(
        sentence,
        ZERO_SHOT if chosen is None else chosen.label,
        asked.metric,
        asked.budget.written,
        costs.budget.said(costs.spent),
        asked.seed,
        len(given.dataset.split.train),
        0,
        0,
        rows_without_folds(contenders, chosen, left_out),
    )
    return Searched(chosen, board, None)


def _too_small(contenders: Sequence[Contender], halving: Search, costs: Costs) -> str:
    """Why not one method could be tried."""
    rung, spent = halving.rungs[0], costs.spent
    needs = [rung.folds * costs.trial((one,), rung.length(one)) / rung.until + costs.refit(one) for one in contenders]
    least = min(needs)
    cheapest = contenders[needs.index(least)]
    return (
        f"the budget of {costs.budget.written} is too small for one method: {costs.budget.said(spent)} are spent "
        f"before the first comparison, and {cheapest.label} with a training on all images needs "
        f"{costs.budget.said(least)} more; give a larger --budget"
    )
