"""Ways to train on phases: Mod-X, what it is compared with, and training on everything at once."""

from collections.abc import Sequence
from dataclasses import dataclass

from trainers.config.values import check_name
from trainers.pairs.settings import PairSettings, pair_settings


@dataclass(frozen=True)
class Strategy:
    """One way to train on phases.

    Args:
        objective: that trains each phase.
        share: of the new learnt tensors in what a phase ends with; the rest is from before the phase.
        trains: on the phases one after the other, on all at once, or not at all.
    """

    objective: str = "info_nce"
    share: float = 1.0
    trains: str = "in turn"


STRATEGIES = {
    "modx": Strategy("modx"),
    "sequential": Strategy(),
    "lwf": Strategy("lwf"),
    "l2": Strategy("l2_delta"),
    "averaging": Strategy(share=0.5),
    "joint": Strategy(trains="at once"),
    "zero_shot": Strategy(trains="nothing"),
}
OBJECTIVES = {strategy.objective for strategy in STRATEGIES.values()}


def strategy_settings(
    names: Sequence[str], method: str, wrap: Sequence[str], words: Sequence[str], backbone: str
) -> dict[str, PairSettings]:
    """The settings of each strategy; options of an objective are for the strategies that train with it.

    Args:
        words: KEY VALUE KEY VALUE ..., as a user writes them.

    Raises:
        ConfigError: if a strategy or a setting is unknown, or no strategy takes the options of an objective.
    """
    for name in names:
        check_name("--strategies", name, list(STRATEGIES))
    used = {STRATEGIES[name].objective for name in names}
    pairs = [words[place : place + 2] for place in range(0, len(words), 2)]
    settings = {}
    for name in dict.fromkeys(names):
        objective = STRATEGIES[name].objective
        others = {other.upper() for other in OBJECTIVES & used - {objective}}
        own = [word for pair in pairs if pair[0].split(".")[0].upper() not in others for word in pair]
        settings[name] = pair_settings(method, wrap, objective, own, backbone)
    return settings
