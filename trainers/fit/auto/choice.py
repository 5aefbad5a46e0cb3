"""Who wins: what beats zero-shot by more than its standard error, and the cheapest of near equals among these."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trainers.evaluation.scoring import Bools, Ints
from trainers.fit.auto.scores import Metric, difference
from trainers.fit.auto.search import Standing

NEAR = 0.5  # standard errors of their difference within which two contenders are equals
ROUNDING = 1e-9  # a difference of one image is equal to its standard error, whatever its last digits are
Hits = Callable[[Standing], tuple[Bools, Bools, Ints]]  # of a contender and of zero-shot, and the labels


@dataclass(frozen=True)
class Choice:
    """The contender to keep, or None for zero-shot, and why."""

    standing: Standing | None
    sentence: str


def choose(standings: Sequence[Standing], hits: Hits, metric: Metric) -> Choice:
    """Choose among contenders that answered the same images.

    Args:
        standings: the best first; at least one.
        hits: of one of them.
    """
    better = [one for one in standings if _beats_zero_shot(one)]
    if not better:
        return Choice(None, _why_zero_shot(standings))
    best = better[0]
    own, _, labels = hits(best)
    equals = [best]
    for one in better[1:]:
        lead = difference(own, hits(one)[0], labels, metric)
        if lead.mean <= NEAR * lead.error + ROUNDING:
            equals.append(one)
    chosen = min(equals, key=lambda one: one.contender.place)
    assert chosen.above is not None
    assert chosen.score is not None
    sentence = (
        f"{chosen.contender.label} is chosen: {chosen.score.mean:.1f} % of {len(labels)} held-out images, "
        f"{chosen.above.mean:+.1f} ± {chosen.above.error:.1f} against zero-shot"
    )
    if chosen is not best:
        sentence += f"; it is the cheapest of {len(equals)} that are within half a standard error of the best"
    return Choice(chosen, sentence)


def _beats_zero_shot(one: Standing) -> bool:
    return one.above is not None and one.above.mean > one.above.error * (1 + ROUNDING) + ROUNDING


def _why_zero_shot(standings: Sequence[Standing]) -> str:
    best = standings[0]
    assert best.above is not None
    return (
        f"zero-shot is kept: the best of {len(standings)} contenders, {best.contender.label}, is "
        f"{best.above.mean:+.1f} points against it on held-out images, which is not more than the standard error of "
        f"{best.above.error:.1f}"
    )
