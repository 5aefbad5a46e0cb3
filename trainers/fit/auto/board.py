"""The leaderboard of what a search went through, row by row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from trainers.evaluation.scoring import Ints
from trainers.fit.auto.choice import Choice
from trainers.fit.auto.contenders import Contender
from trainers.fit.auto.leaderboard import FoldLogits
from trainers.fit.auto.plain import Plain
from trainers.fit.auto.scores import Metric, estimate
from trainers.fit.auto.search import RUNGS, Standing
from trainers.fit.folds import Folds
from trainers.report.decision.leaderboard import CHOSEN, Row
from trainers.runs.start import ZERO_SHOT

NOT_TRIED, LEFT_OUT, DIVERGED, FAILED = "not tried", "left out", "diverged", "failed"
NO_BUDGET = "there was no budget for it"
NO_FOLDS = "no image could be held out"


@dataclass(frozen=True)
class Compared:
    """A finished search over folds."""

    standings: Sequence[Standing]  # of all contenders, in the order of cost
    folds: Folds
    labels: Ints  # (N,) of the training images
    plain: Plain
    choice: Choice

    @property
    def reached(self) -> int:
        """Folds of the highest rung that a contender has finished; all of them where none has."""
        finished = [one.rung.folds for one in self.standings if one.rung is not None and not one.is_out]
        return max(finished, default=len(self.folds.held))

    @property
    def places(self) -> Ints:
        """The images that decided: (n,) places among the training images."""
        return self.folds.first(self.reached)


def rows_of(compared: Compared, left_out: Mapping[str, str], metric: Metric) -> tuple[Row, ...]:
    """Zero-shot and every candidate: those that came furthest first, the better of them first."""
    chosen = compared.choice.standing
    labels = compared.labels[compared.places]
    score = estimate(compared.plain.answers[compared.places] == labels, labels, metric)
    state = "baseline" if chosen else CHOSEN
    base = Row(ZERO_SHOT, ZERO_SHOT, "training_free", {}, state, score.mean, score.error, folds=compared.reached)
    ordered = sorted(compared.standings, key=_order)
    rows = [base, *(_row(one, one is chosen) for one in ordered)]
    rows.sort(key=lambda row: row.state != CHOSEN)
    return (*rows, *_left_out(left_out))


def rows_without_folds(
    contenders: Sequence[Contender], chosen: Contender | None, left_out: Mapping[str, str]
) -> tuple[Row, ...]:
    """Candidates of which none was compared."""
    rows = [Row(ZERO_SHOT, ZERO_SHOT, "training_free", {}, "baseline" if chosen else CHOSEN)]
    for one in contenders:
        rows.append(_untried(one, *((CHOSEN, None) if one is chosen else (NOT_TRIED, NO_FOLDS))))
    rows.sort(key=lambda row: row.state != CHOSEN)
    return (*rows, *_left_out(left_out))


def fold_logits(compared: Compared, images: Sequence[str]) -> FoldLogits | None:
    """Logits of what was chosen on the images that were held out from its trainings, if they were kept."""
    chosen = compared.choice.standing
    count = len(compared.folds.held) if chosen is None else (chosen.rung.folds if chosen.rung else 0)
    places = compared.folds.first(count)
    logits = compared.plain.logits[places] if chosen is None else chosen.logits
    if logits is None:
        return None
    sizes = [len(fold) for fold in compared.folds.held[:count]]
    fold = np.repeat(np.arange(count, dtype=np.int64), sizes)
    return FoldLogits(logits, compared.labels[places], fold, tuple(images[place] for place in places))


def _order(one: Standing) -> tuple[int, float, int]:
    rung = -1 if one.rung is None or one.is_out else one.rung.number
    return -rung, -(one.score.mean if one.score else 0.0), one.contender.place


def _row(one: Standing, is_chosen: bool) -> Row:
    rung, score, above = one.rung, one.score, one.above
    row = _untried(one.contender, NOT_TRIED, NO_BUDGET)
    if rung is None or score is None or above is None:
        return row
    row = replace(
        row,
        state=CHOSEN if is_chosen else f"rung {rung.number + 1} of {len(RUNGS)}",
        folds=rung.folds,
        steps=one.steps,
        seconds=round(one.seconds, 3),
        reason=f"{NO_BUDGET} in rung {one.unpaid.number + 1}" if one.unpaid else None,
    )
    if one.is_out:
        return replace(row, state=FAILED if one.failure else DIVERGED, reason=one.failure or None)
    return replace(
        row,
        mean=score.mean,
        standard_error=score.error,
        above_zero_shot=above.mean,
        above_standard_error=above.error,
    )


def _untried(contender: Contender, state: str, reason: str | None) -> Row:
    candidate, settings = contender.candidate, contender.at(contender.full)
    return Row(contender.label, candidate.method, candidate.tier, settings, state, reason=reason)


def _left_out(reasons: Mapping[str, str]) -> tuple[Row, ...]:
    return tuple(Row(label, label.partition(",")[0], "", {}, LEFT_OUT, reason=why) for label, why in reasons.items())
