"""Phases of a continual training: several sets of pairs, or one that is cut by groups; and all of them at once."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from datasets_fewshot.pairs.pair_set import Captioned, PairSet

By = Literal["hash", "group", "order"]
PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Phase:
    """The pairs of one phase."""

    name: str
    pairs: PairSet


def named_phases(sets: Sequence[PairSet]) -> tuple[Phase, ...]:
    """A phase for each set, called by its name; a name that comes again has its place behind it."""
    names = [pairs.name for pairs in sets]
    return tuple(
        Phase(f"{pairs.name} ({place})" if names.count(pairs.name) > 1 else pairs.name, pairs)
        for place, pairs in enumerate(sets, start=1)
    )


def cut(pairs: PairSet, count: int, by: By) -> tuple[Phase, ...]:
    """Cut every part of a set into phases.

    Args:
        count: of phases, 2 or more.
        by: "hash" deals groups out by the SHA-256 of their names, so that an image that joins later moves no other;
            "group" puts groups whose names are near each other, as letters stand, into one phase, about as many images
            in each; "order" takes consecutive images of each part, as the paper cuts Flickr30K.

    Raises:
        ValueError: if a phase would have too few images of a part.
    """
    chosen = _by_group(pairs, count) if by == "group" else None
    phases = []
    for number in range(count):
        own = {part: _taken(getattr(pairs, part), number, count, by, chosen) for part in PARTS}
        for part, listed in own.items():
            if len(listed) < 2:
                raise ValueError(
                    f"phase {number + 1} of {count} would have {len(listed)} images for {part} of {pairs.name}; ask "
                    "for fewer --phases, or cut them with --by order"
                )
        name = f"phase {number + 1}"
        phases.append(
            Phase(
                name,
                replace(
                    pairs, name=f"{pairs.name} {name}", notes=(), train=own["train"], val=own["val"], test=own["test"]
                ),
            )
        )
    return tuple(phases)


def together(phases: Sequence[Phase]) -> PairSet:
    """The pairs of all phases as one set.

    Raises:
        ValueError: if their images are read in different ways or lie on different drives.
    """
    sets = [phase.pairs for phase in phases]
    if len({pairs.reading for pairs in sets}) > 1:
        raise ValueError(
            "the sets of pairs are read in different ways and cannot be trained on jointly; leave joint out"
        )
    if len({pairs.image_root for pairs in sets}) == 1:
        root: Path = sets[0].image_root
        moved: list[Callable[[Captioned], Captioned]] = [lambda item: item] * len(sets)
    else:
        try:
            root = Path(os.path.commonpath([pairs.image_root.resolve() for pairs in sets]))
        except ValueError as error:
            raise ValueError(
                f"images for a joint training lie on different drives ({error}); leave joint out"
            ) from None
        moved = [_moving(phase, root) for phase in phases]
    lists = {
        part: tuple(move(item) for move, pairs in zip(moved, sets, strict=True) for item in getattr(pairs, part))
        for part in PARTS
    }
    return PairSet("all phases", root, lists["train"], lists["val"], lists["test"], (), sets[0].reading)


def _moving(phase: Phase, root: Path) -> Callable[[Captioned], Captioned]:
    """What names the images of a phase from another root, and its groups apart from those of others."""
    below = phase.pairs.image_root.resolve().relative_to(root).as_posix()

    def move(item: Captioned) -> Captioned:
        return Captioned(f"{below}/{item.path}", item.captions, f"{phase.name}: {item.group}")

    return move


def _taken(
    listed: Sequence[Captioned], number: int, count: int, by: By, chosen: dict[str, int] | None
) -> tuple[Captioned, ...]:
    if by == "order":
        return tuple(listed[len(listed) * number // count : len(listed) * (number + 1) // count])
    if chosen is None:
        return tuple(item for item in listed if _hashed(item.group, count) == number)
    return tuple(item for item in listed if chosen[item.group] == number)


def _hashed(group: str, count: int) -> int:
    """The phase of a group; another hash than that which says its part."""
    return int.from_bytes(hashlib.sha256(f"phase {group}".encode()).digest()[:8], "big") % count


def _by_group(pairs: PairSet, count: int) -> dict[str, int]:
    """The phase of every group, by the place of its first image among all in the order of the groups' names."""
    groups = sorted(item.group for part in PARTS for item in getattr(pairs, part))
    first = {group: place for place, group in reversed(list(enumerate(groups)))}
    return {group: place * count // len(groups) for group, place in first.items()}
