"""An architecture: which blocks of the two towers are skipped, how that was decided, and what it costs.

It is kept as JSON that may be edited by hand: the skipped blocks are what counts when it is read again, and costs are
counted anew from them. What finds one out is an `ArchitectureSearch`, which a trainer steps through.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import NamedTuple, Protocol

from adaptkit.regular_file import Place, parse_json, read_text

FORMAT = "adaptkit-architecture/1"


class Choice(NamedTuple):
    """Skipped blocks of the two towers, by number."""

    vision: tuple[int, ...]
    text: tuple[int, ...]


@dataclass(frozen=True)
class TowerPlan:
    """One tower: how deep it is, which blocks are skipped, and how a search came to rate them.

    Raises:
        ValueError: if a block is not in the tower, or the gates are not one for each.
    """

    depth: int
    skipped: tuple[int, ...] = ()  # in ascending order
    gates: tuple[float, ...] = ()  # one for each block, the higher the less its skipping hurts; none without a search

    def __post_init__(self) -> None:
        object.__setattr__(self, "skipped", tuple(sorted(self.skipped)))
        object.__setattr__(self, "gates", tuple(self.gates))
        for block in self.skipped:
            if not 0 <= block < self.depth:
                raise ValueError(f"skipped block {block} is not in a tower of blocks 0 to {self.depth - 1}")
        if len(set(self.skipped)) < len(self.skipped):
            raise ValueError(f"skipped blocks {list(self.skipped)} name a block twice")
        if self.gates and len(self.gates) != self.depth:
            raise ValueError(f"{len(self.gates)} gates for {self.depth} blocks; expected one for each, or none")


@dataclass(frozen=True)
class Architecture:
    """What is skipped in both towers, and where that came from."""

    vision: TowerPlan
    text: TowerPlan
    selected_by: str = "given"
    seeds: tuple[int, ...] = ()  # of the searches
    agreement: float | None = None  # mean overlap of what two searches would skip, from 0 to 1; None for one search
    macs: Mapping[str, int] = field(default_factory=dict)  # multiply-accumulates, by what they are of

    @property
    def choice(self) -> Choice:
        return Choice(self.vision.skipped, self.text.skipped)

    def to_json(self) -> str:
        """As a file holds it."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n"


def architecture_from_json(text: str, source: str = "the architecture") -> Architecture:
    """An architecture as `to_json` wrote it or a hand edited it.

    Args:
        source: what messages call it, such as a path.

    Raises:
        ValueError: names what is wrong with it.
    """
    content = parse_json(text, "architecture", source)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{source} is no architecture; expected an object with format {FORMAT!r}")
    try:
        return Architecture(
            vision=_tower(content, "vision"),
            text=_tower(content, "text"),
            selected_by=str(content.get("selected_by", "given")),
            seeds=tuple(int(seed) for seed in content.get("seeds", ())),
            agreement=None if content.get("agreement") is None else float(content["agreement"]),
            macs={str(name): int(count) for name, count in content.get("macs", {}).items()},
        )
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ValueError(f"{source}: {error}") from None


def read_architecture(path: Place) -> Architecture:
    """The architecture in a file.

    Raises:
        FileNotFoundError, ValueError: if there is no such file, or it holds no architecture; names what is wrong.
    """
    return architecture_from_json(read_text(path, "architecture"), str(path))


def _tower(content: Mapping[str, object], name: str) -> TowerPlan:
    plan = content.get(name)
    if not isinstance(plan, dict) or set(plan) - {"depth", "skipped", "gates"} or not _is_whole(plan.get("depth")):
        raise ValueError(f"{name} is {plan!r}; expected depth, skipped and, where there are any, gates")
    skipped, gates = plan.get("skipped", []), plan.get("gates", [])
    if not isinstance(skipped, list) or not all(_is_whole(block) for block in skipped):
        raise ValueError(f"{name}.skipped is {skipped!r}; expected a list of block numbers")
    return TowerPlan(plan["depth"], tuple(skipped), tuple(float(gate) for gate in gates))


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def merged(found: Sequence[Architecture]) -> Architecture:
    """What several searches agree on: gates averaged, as many blocks skipped as in each; of one search, itself."""
    if len(found) == 1:
        return found[0]
    overlaps = [
        overlap(one.choice, other.choice)
        for index, one in enumerate(found)
        for other in found[index + 1 :]
        if sum(map(len, one.choice))
    ]
    return Architecture(
        vision=_merged_plan([each.vision for each in found]),
        text=_merged_plan([each.text for each in found]),
        selected_by=found[0].selected_by,
        seeds=tuple(seed for each in found for seed in each.seeds),
        agreement=sum(overlaps) / len(overlaps) if overlaps else None,
    )


def _merged_plan(plans: Sequence[TowerPlan]) -> TowerPlan:
    gates = tuple(sum(values) / len(plans) for values in zip(*(plan.gates for plan in plans), strict=True))
    return TowerPlan(plans[0].depth, largest(gates, len(plans[0].skipped)) if gates else plans[0].skipped, gates)


def overlap(one: Choice, other: Choice) -> float:
    """The share of the skipped blocks that two choices of the same size have in common, from 0 to 1."""
    common = sum(len(set(mine) & set(theirs)) for mine, theirs in zip(one, other, strict=True))
    return common / sum(map(len, one))


def largest(gates: Sequence[float], count: int) -> tuple[int, ...]:
    """The blocks with the largest gates, of equals the later ones, in ascending order."""
    order = sorted(range(len(gates)), key=lambda block: (gates[block], block), reverse=True)
    return tuple(sorted(order[:count]))


class ArchitectureSearch(Protocol):
    """What finds an architecture while a method is trained: a trainer samples, trains, tries candidates and reports.

    A search begins before its first step. In each of its steps the trainer trains the sampled sub-network on a batch,
    if the search `trains`; where a reward is due, it measures the cross-entropy of every candidate on the next images
    that are kept for that. `result` is the architecture of one search, `merged` that of several, and `settled` the
    wrapper's options that have it, for a method that is made anew.
    """

    searches: int  # how often to search, each from another seed
    reward_batch: int  # images of one reward
    trains: bool
    batch_size: int
    lr: float
    weight_decay: float

    @property
    def options(self) -> object: ...  # the wrapper's, as they stand in the list that the method was made with

    @property
    def reward_images(self) -> str: ...  # "held_out": some of the training images; "val": validation images

    def begin(self) -> None: ...

    def step_count(self, shots: int, n_reward_images: int) -> int: ...

    def sample(self) -> None: ...

    def reward_is_due(self, step: int, step_count: int) -> bool: ...

    def candidates(self) -> Sequence[Choice]: ...

    def use(self, choice: Choice) -> None: ...

    def learn(self, choices: Sequence[Choice], losses: Sequence[float]) -> None: ...

    def result(self, seed: int) -> Architecture: ...

    def merged(self, found: Sequence[Architecture]) -> Architecture: ...

    def settled(self, architecture: Architecture) -> object: ...
