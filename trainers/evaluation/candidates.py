"""The classes among which labelled images are classified, and where the images' own classes stand among them.

Which answers are possible is a property of the model in use, not of the images that happen to be at hand: an adapter
of ten classes that meets images of one of them may still answer any of the ten.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from adaptkit.contract.method import AdaptedCLIP
from trainers.evaluation.scoring import Floats, Ints

Among = Literal["adapter", "data"]
NAMES_SHOWN = 5


@dataclass(frozen=True)
class Candidates:
    """K candidates: columns of a method's logits, and the place among them of every class of the data."""

    names: tuple[str, ...]  # K
    columns: tuple[int, ...]  # K columns of the method's logits
    places: tuple[int, ...]  # of each class of the data, in the data's order
    among: Among  # whose classes these are
    notes: tuple[str, ...] = ()

    def pick(self, logits: Floats) -> Floats:
        """The candidates' columns (N, K) of the method's logits (N, C)."""
        return logits[:, list(self.columns)]

    def place(self, labels: Ints) -> Ints:
        """Labels of the data, counted from 0, as places among the candidates."""
        return np.asarray(self.places, dtype=np.int64)[labels]


def choose_candidates(method: AdaptedCLIP, names: Sequence[str], among: Among = "adapter") -> Candidates:
    """Choose among which classes images of classes with these names are classified.

    The method's own classes contain the data's: all of its own with "adapter", those of the data with "data". Otherwise
    the data's classes take the place of the method's, where it can take other names.

    Raises:
        ValueError: if there is one candidate only, if the method is bound to its classes and lacks some of the data's,
            or if it is not certain which of two classes of one name is meant.
    """
    own, names = method.classes.classnames, tuple(names)
    places, notes = _places(own, names)
    if places is None:
        return _replaced(method, names)
    if among == "adapter":
        found = Candidates(own, tuple(range(len(own))), places, "adapter", notes)
    else:
        order = tuple(range(len(names)))
        found = Candidates(tuple(own[place] for place in places), places, order, "data", notes)
    _check_several(found.names, "the adapter has" if among == "adapter" else "--among data: the images have")
    return found


def _replaced(method: AdaptedCLIP, names: tuple[str, ...]) -> Candidates:
    """The data's classes in the place of the method's own, which do not contain them."""
    known = set(method.classes.classnames)
    unknown = [name for name in names if name not in known]
    if method.bound_to_classes is not None:
        raise ValueError(
            f"the images have {len(unknown)} classes that the adapter does not know, such as {unknown[0]!r}, and "
            f"{method.bound_to_classes}"
        )
    _check_several(names, "the images have")
    method.set_classes(names)
    note = (
        f"{len(unknown)} of the images' {len(names)} classes are none of the adapter's ({_shown(unknown)}), so it "
        f"answered among the images' {len(names)} classes in place of its own"
    )
    return Candidates(names, tuple(range(len(names))), tuple(range(len(names))), "data", (note,))


def _check_several(names: Sequence[str], whose: str) -> None:
    if len(names) < 2:
        raise ValueError(
            f"{whose} one class only, {names[0]!r}; among one class every answer is right, so an accuracy would be "
            "meaningless. Judge among several: with an adapter that knows others too, or with images of more classes"
        )


def _places(own: tuple[str, ...], names: tuple[str, ...]) -> tuple[tuple[int, ...] | None, tuple[str, ...]]:
    """The place of each name among a method's own, with notes; None if one is missing.

    Names are compared as they are written and, where one is not found like that, as prompts read them: without regard
    to underscores and case.
    """
    if own == names:
        return tuple(range(len(own))), _same_names(own)
    exact, read = _by_name(own), _by_name(tuple(_as_read(name) for name in own))
    places, respelt = list[int](), list[str]()
    wanted = _by_name(names)
    for index, name in enumerate(names):
        found = exact.get(name)
        if found is None:
            found = read.get(_as_read(name))
            respelt.append(name)
        if found is None:
            return None, ()
        if len(found) != 1 and len(found) != len(wanted[name]):
            raise ValueError(
                f"{len(found)} classes of the adapter are called {name!r} and {len(wanted[name])} of the images' are, "
                "so it is not certain which is meant; give classes that differ names that differ"
            )
        places.append(found[wanted[name].index(index)] if len(found) > 1 else found[0])
    if len(set(places)) != len(places):
        twice = next(name for place, name in zip(places, names, strict=True) if places.count(place) > 1)
        raise ValueError(
            f"two classes of the images, {twice!r} one of them, are one and the same class of the adapter; put their "
            "images into one class, or give them names that differ by more than case and underscores"
        )
    notes = _same_names(own)
    if respelt:
        notes += (f"{_shown(respelt)}: the adapter writes it differently, by case or underscores; taken as the same",)
    return tuple(places), notes


def _by_name(names: Sequence[str]) -> Mapping[str, list[int]]:
    found = defaultdict[str, list[int]](list)
    for index, name in enumerate(names):
        found[name].append(index)
    return dict(found)


def _as_read(name: str) -> str:
    return " ".join(name.replace("_", " ").split()).casefold()


def _same_names(names: Sequence[str]) -> tuple[str, ...]:
    """A note on classes that share a name."""
    shared = [(name, places) for name, places in _by_name(names).items() if len(places) > 1]
    return tuple(
        f"{len(places)} classes are called {name!r} (numbers {', '.join(map(str, places))}); names alone cannot tell "
        "them apart"
        for name, places in shared[:NAMES_SHOWN]
    )


def _shown(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")
