"""SINC's prompts as released: N-way episodes for evaluation, bursty and non-bursty ones for training.

Chen et al., arXiv:2307.07742, as in its code (YiSyuanChen/SINC at 2ff6c1d). Positions are drawn with replacement, and
the query is not left out: it can be among its own demonstrations, and a class can be drawn twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch


class Draws(Protocol):
    """What is random about a prompt, in the order of the released code."""

    def coin(self) -> int:
        """0 or 1, with equal chances."""

    def classes(self, among: Sequence[int], count: int, *, replace: bool) -> list[int]:
        """`count` of the classes."""

    def positions(self, below: int, count: int) -> list[int]:
        """`count` positions, with replacement."""

    def permutation(self, count: int) -> list[int]:
        """An order of `count` things."""


class RandomDraws:
    """Draws of a torch generator."""

    def __init__(self, generator: torch.Generator):
        self.generator = generator

    def coin(self) -> int:
        return self.positions(2, 1)[0]

    def classes(self, among: Sequence[int], count: int, *, replace: bool) -> list[int]:
        if not replace and count > len(among):
            raise ValueError(f"{count} different classes are asked for and there are {len(among)}; lower the ways")
        places = self.positions(len(among), count) if replace else self.permutation(len(among))[:count]
        return [among[place] for place in places]

    def positions(self, below: int, count: int) -> list[int]:
        return torch.randint(below, (count,), generator=self.generator).tolist()

    def permutation(self, count: int) -> list[int]:
        return torch.randperm(count, generator=self.generator).tolist()


@dataclass(frozen=True)
class Prompt:
    """Demonstrations as places in the pool, with their labels."""

    places: list[int]
    labels: list[int]


@dataclass(frozen=True)
class NWayPrompt(Prompt):
    """A prompt that brings its own query."""

    query: int
    query_label: int


def members(labels: Sequence[int], label: int) -> list[int]:
    """Places of a class in the pool.

    Raises:
        ValueError: if it has none.
    """
    places = [place for place, own in enumerate(labels) if own == label]
    if not places:
        raise ValueError(f"class {label} has no example in the pool; take another one")
    return places


def nway_prompt(labels: Sequence[int], classes: Sequence[int], ways: int, example_num: int, draws: Draws) -> NWayPrompt:
    """An evaluation episode: different classes with equally many demonstrations, renamed to 0..ways-1 at random."""
    chosen, names = draws.classes(classes, ways, replace=False), draws.permutation(ways)
    each = example_num // ways
    query, places, renamed = 0, [], []
    for turn, (label, name) in enumerate(zip(chosen, names, strict=True)):
        own = members(labels, label)
        drawn = [own[position] for position in draws.positions(len(own), each + (turn == 0))]
        if turn == 0:
            query, *drawn = drawn
        places += drawn
        renamed += [name] * each
    order = draws.permutation(len(places))
    return NWayPrompt([places[place] for place in order], [renamed[place] for place in order], query, names[0])


def bursty_prompt(
    labels: Sequence[int],
    classes: Sequence[int],
    retrieved: Sequence[int],
    query_label: int,
    ways: int,
    example_num: int,
    draws: Draws,
) -> Prompt:
    """A training prompt: the query's class and others recur, or the query's neighbours are drawn, by a coin.

    Args:
        labels: of every example of the pool.
        classes: the classes to train on.
        retrieved: places of the query's neighbours.
    """
    if draws.coin():
        places = [retrieved[position] for position in draws.positions(len(retrieved), example_num)]
    else:
        recurring = []
        for label in (query_label, *draws.classes(classes, ways - 1, replace=True)):
            own = members(labels, label)
            recurring += [own[position] for position in draws.positions(len(own), example_num // ways)]
        places = [recurring[place] for place in draws.permutation(len(recurring))]
    return Prompt(places, [labels[place] for place in places])


def nonbursty_prompt(labels: Sequence[int], classes: Sequence[int], example_num: int, draws: Draws) -> Prompt:
    """A training prompt of any examples of the classes to train on."""
    known = set(classes)
    pool = [place for place, label in enumerate(labels) if label in known]
    places = [pool[position] for position in draws.positions(len(pool), example_num)]
    return Prompt(places, [labels[place] for place in places])
