"""Gates: DAS learns which blocks to skip like the arms of a bandit (Wu et al., arXiv:2309.01479).

Every block i has a gate g_i, 0 at the start, and the preference p_i = sigmoid(g_i). A sub-network skips n blocks, drawn
without replacement with probabilities proportional to p. Rewards of a few different sub-networks on the same images:
    R_k = exp(-L_k),    g_i <- g_i + eta (R_k - mean R) p_i (1 - p_i)    for every block i that k skips
with p from before the update, so a high gate marks a block that is missed least.
"""

from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import torch
from torch import Tensor

Advantage = Literal["standardised", "baseline"]
Drawn = TypeVar("Drawn")


class Gates:
    """The gates (M,) of M blocks, in fp32 on the CPU."""

    def __init__(self, count: int):
        self.values = torch.zeros(count)

    def preferences(self) -> Tensor:
        """The preferences p (M,) of the blocks."""
        return torch.sigmoid(self.values)

    def draw(self, count: int) -> tuple[int, ...]:
        """Draw `count` different blocks, in the order in which torch's global generator drew them."""
        if not count:
            return ()
        return tuple(torch.multinomial(self.preferences(), count, replacement=False).tolist())

    def learn(self, subsets: Sequence[Sequence[int]], advantages: Tensor, eta: float) -> None:
        """Move the gates of the blocks in each subset by the subset's advantage (K,)."""
        p = self.preferences()
        slope = p * (1 - p)
        for subset, advantage in zip(subsets, advantages.tolist(), strict=True):
            for block in subset:
                self.values[block] += eta * advantage * slope[block]


def distinct(draw: Callable[[], Drawn], key: Callable[[Drawn], object], count: int) -> list[Drawn]:
    """Draw `count` values with different keys; repeats are drawn again."""
    found: dict[object, Drawn] = {}
    while len(found) < count:
        drawn = draw()
        found.setdefault(key(drawn), drawn)
    return list(found.values())


def rewards(losses: Tensor) -> Tensor:
    """Rewards R (K,) from losses (K,) in nats."""
    return torch.exp(-losses)


def advantages(reward: Tensor, kind: Advantage) -> Tensor:
    """Advantages (K,) of rewards: R - mean R as published, or that over the standard deviation."""
    centred = reward - reward.mean()
    return centred if kind == "baseline" else centred / (reward.std(correction=0) + 1e-4)
