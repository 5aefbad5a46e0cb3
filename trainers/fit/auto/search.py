"""Successive halving: many contenders are trained a little on a few folds, the better half of them more, on more folds.

Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization", arXiv:1502.07943.
Departure: a rung adds folds as well as steps, and every training begins anew, because its rate falls to 0 at its end.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from trainers.evaluation.scoring import Bools, Ints
from trainers.fit.auto.contenders import Contender, in_loops
from trainers.fit.auto.costs import PROBES, Costs
from trainers.fit.auto.scores import Estimate, Metric, difference, estimate
from trainers.fit.auto.trials import Logits, Trial, Trials

KEPT = 2  # one in so many goes on to the next rung
FREE_SHARE = 0.005  # of the budget; who costs less on the next rung goes on as well
RUNGS = ((0.25, 0.4, 0.5), (0.5, 0.6, 0.75), (1.0, 1.0, 1.0))  # shares of steps, of folds, and of what may be spent


@dataclass(frozen=True)
class Rung:
    """One round of the halving."""

    number: int  # from 0
    share: float  # of each contender's steps
    folds: int
    until: float  # the share of the budget beside the refit that may be spent when the rung ends
    is_last: bool

    def length(self, one: Contender) -> int:
        """Steps or iterations of one of its trainings."""
        return max(1, math.ceil(self.share * one.full)) if one.candidate.length else 0


def rungs(folds: int) -> tuple[Rung, ...]:
    """The rungs for so many folds."""
    last = len(RUNGS) - 1
    return tuple(
        Rung(number, share, max(1, math.ceil(part * folds)), until, number == last)
        for number, (share, part, until) in enumerate(RUNGS)
    )


@dataclass
class Standing:
    """What is known of one contender."""

    contender: Contender
    rung: Rung | None = None  # the last that it has finished
    answers: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))  # to the images of that rung's folds
    logits: Logits | None = None  # (n, C), of the same images
    seconds: float = 0.0  # of all its trials; loops are shared evenly
    steps: int = 0  # of all its trials
    score: Estimate | None = None
    above: Estimate | None = None  # what it has above zero-shot
    unpaid: Rung | None = None  # the rung that there was no budget for
    failure: str = ""  # why it could not be trained

    @property
    def is_out(self) -> bool:
        """Whether a training of its last rung failed, or had a loss that is not finite."""
        return bool((self.answers < 0).any())


class Search:
    """The halving over one set of folds.

    Args:
        plain: zero-shot's answers (N,) to all training images.
    """

    def __init__(
        self,
        contenders: Sequence[Contender],
        trials: Trials,
        costs: Costs,
        plain: Ints,
        metric: Metric,
        tell: Callable[[str], None],
    ):
        self.standings = [Standing(one) for one in contenders]
        self.trials, self.costs, self.plain, self.metric, self.tell = trials, costs, plain, metric, tell
        self.labels = np.array([item.label for item in trials.ground.items], dtype=np.int64)
        self.rungs = rungs(len(trials.ground.folds.held))
        self._paid: set[str] = set()  # names of trials

    def run(self) -> list[Standing]:
        """Climb the rungs; returns the standings of the highest rung that anyone has finished, the best first.

        Those that the first rung had no room for are put on the last at once, if there is something left in the end.
        """
        alive, reached = self.standings, list[Standing]()
        for rung in self.rungs:
            done = self._climb(alive, rung)
            if not done:
                break
            ranked = self._ranked(done)
            if not ranked:
                return self._ranked(reached)
            reached, alive = ranked, self._kept(ranked, rung)
        last = self.rungs[-1]
        if reached and reached[0].rung == last:
            reached += self._climb([one for one in self.standings if one.rung is None], last, reached)
        return self._ranked(reached)

    def _kept(self, ranked: Sequence[Standing], rung: Rung) -> list[Standing]:
        """The better half, and of the others those that cost next to nothing on the next rung."""
        if rung.is_last:
            return []
        upper, above = math.ceil(len(ranked) / KEPT), self.rungs[rung.number + 1]
        little = FREE_SHARE * self.costs.budget.amount
        return [
            one
            for rank, one in enumerate(ranked)
            if rank < upper or above.folds * self.costs.trial((one.contender,), above.length(one.contender)) <= little
        ]

    def hits(self, one: Standing) -> tuple[Bools, Bools, Ints]:
        """Hits of a contender and of zero-shot on the images of its rung, and the labels: (n,) each."""
        assert one.rung is not None
        places = self.trials.ground.folds.first(one.rung.folds)
        labels = self.labels[places]
        return one.answers == labels, self.plain[places] == labels, labels

    def _ranked(self, standings: Sequence[Standing]) -> list[Standing]:
        """Those that are not out, the best first and the cheaper of equals."""
        whole = [one for one in standings if not one.is_out]
        return sorted(whole, key=lambda one: (-(one.score.mean if one.score else 0.0), one.contender.place))

    def _climb(self, alive: Sequence[Standing], rung: Rung, others: Sequence[Standing] = ()) -> list[Standing]:
        """Give a rung to as many as the budget has room for, in their order, and to a refit of any of the others."""
        done: list[Standing] = []
        by_place = {one.contender.place: one for one in alive}
        classes = len(self.trials.ground.classnames)
        for loop in in_loops([one.contender for one in alive], classes):
            paid = self._affordable(loop, rung, [one.contender for one in (*others, *done)])
            for one in loop[len(paid) :]:
                by_place[one.place].unpaid = rung
            for one in paid:
                by_place[one.place].unpaid = None
            if paid:
                standings = [by_place[one.place] for one in paid]
                self._judge(standings, rung)
                done += standings
        return done

    def _affordable(self, loop: tuple[Contender, ...], rung: Rung, done: Sequence[Contender]) -> tuple[Contender, ...]:
        """As many of a loop, from its first, as the budget has room for, with a refit of any that may be chosen."""
        while loop:
            if self._fits(loop, rung, done) and self._measure(loop, rung, done) and self._fits(loop, rung, done):
                return loop
            loop = loop[: len(loop) // 2]
        return loop

    def _fits(self, loop: Sequence[Contender], rung: Rung, done: Sequence[Contender]) -> bool:
        costs, length = self.costs, rung.length(loop[0])
        refit = max(costs.refit(one) for one in (*loop, *done))
        return costs.fits(rung.folds * costs.trial(loop, length), refit, rung.until)

    def _measure(self, loop: tuple[Contender, ...], rung: Rung, done: Sequence[Contender]) -> bool:
        """Measure how fast a loop trains, if that decides anything; False if a first step took what there was."""
        if not self.costs.in_seconds or self.costs.knows_speed(loop[0]) or loop[0].candidate.length is None:
            return True
        for length in PROBES:
            if length > PROBES[0] and not self.costs.fits(length * self.costs.trial(loop, PROBES[0]), 0.0):
                return False
            self._trial(loop, length, 0, keep_logits=False)
        return True

    def _trial(self, loop: Sequence[Contender], length: int, fold: int, keep_logits: bool) -> tuple[Trial, bool]:
        """A trial, and whether it is new to this search, which pays for it once."""
        found = self.trials.trial(loop, length, fold, keep_logits)
        is_new = found.name not in self._paid
        if is_new:
            self._paid.add(found.name)
            self.costs.take(loop, length, found.seconds)
        return found, is_new

    def _judge(self, standings: list[Standing], rung: Rung) -> None:
        """Train and judge one loop on the folds of a rung."""
        loop, length = tuple(one.contender for one in standings), rung.length(standings[0].contender)
        answers: list[Ints] = []
        logits: list[Logits | None] = []
        for fold in range(rung.folds):
            found, is_new = self._trial(loop, length, fold, keep_logits=rung.is_last)
            answers.append(found.answers)
            logits.append(found.logits)
            for one in standings:
                one.failure = one.failure or found.failure
            for one in standings if is_new else ():
                one.seconds += found.seconds / len(loop)
                one.steps += length
        for row, one in enumerate(standings):
            one.rung, one.answers = rung, np.concatenate([fold[row] for fold in answers])
            kept = [fold[row] for fold in logits if fold is not None]
            one.logits = np.concatenate(kept) if len(kept) == rung.folds else None
            own, plain, labels = self.hits(one)
            one.score = estimate(own, labels, self.metric)
            one.above = difference(own, plain, labels, self.metric)
            self.tell(f"{one.contender.label}: {one.score.mean:.1f} % of {len(labels)} held-out images")
