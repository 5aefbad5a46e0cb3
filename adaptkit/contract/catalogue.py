"""A catalogue: what is registered of one kind, by name."""

import dataclasses
import re
from collections.abc import Iterable, Sequence
from typing import Generic, Literal, TypeVar, get_args

from adaptkit.contract.plugins import load_own, load_plugins
from adaptkit.options import near

# Where a plugin touches CLIP: its tokens before the towers, its weights inside them, its features after them, the texts
# of its classes, or only at test time.
Touches = Literal["before", "inside", "after", "class_side", "test_time"]

# Names of settings that stand beside the sections of methods in a configuration; a section of that name would hide one.
RESERVED = frozenset(
    (
        *("backbone", "checkpoint", "data", "launch", "optim", "views"),  # sections
        *(
            "datasets",
            "device",
            "first",
            "methods",
            "objective",
            "precision",
            "protocol",
            "quick",
            "recipe",
            "seeds",
            "selection",
        ),
        *("shots", "suite", "targets", "threads", "unlabelled", "wrap"),
        *("consumes", "dataset", "method", "when"),  # conditions of cases
    )
)

Kind = TypeVar("Kind")


@dataclasses.dataclass(frozen=True)
class Entry(Generic[Kind]):
    """A registered class with the dataclass of its options."""

    made_from: type[Kind]
    config: type
    touches: Touches | None


class Catalogue(Generic[Kind]):
    """Classes of one kind by name, with their options.

    Args:
        kind: how messages call an entry, such as "method".
    """

    def __init__(self, kind: str):
        self.kind = kind
        self._entries: dict[str, Entry[Kind]] = {}

    def add(self, name: str, made_from: type[Kind], config: type, touches: Touches | None = None) -> None:
        """Register a class.

        Raises:
            ValueError: if the name is taken, reserved, or no lower-case word, or the options are no frozen dataclass.
        """
        if name in self._entries:
            taken_by = self._entries[name].made_from.__module__
            raise ValueError(f"{self.kind} {name!r} is already {taken_by}; choose another name")
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise ValueError(f"{self.kind} {name!r} needs a name of lower-case letters, digits and underscores")
        if name in RESERVED:
            raise ValueError(
                f"{article(self.kind)} cannot be called {name!r}, because a setting or a section of settings is; "
                "choose another name"
            )
        if not (dataclasses.is_dataclass(config) and config.__dataclass_params__.frozen):  # type: ignore[attr-defined]
            raise ValueError(f"the options of {self.kind} {name!r} are {config.__name__}; expected a frozen dataclass")
        if touches is not None and touches not in get_args(Touches):
            raise ValueError(
                f"{self.kind} {name!r} touches {touches!r}; expected one of {', '.join(get_args(Touches))}"
            )
        self._entries[name] = Entry(made_from, config, touches)

    def names(self) -> list[str]:
        """All names, sorted; those of installed plugins are among them."""
        load_plugins()
        return sorted(self._entries)

    def get(self, name: str) -> Entry[Kind]:
        """The entry of a name.

        Raises:
            ValueError: if there is none; the message has the nearest names.
        """
        if name not in self._entries:
            load_plugins()
        if name not in self._entries:
            raise ValueError(f"unknown {self.kind} {name!r}; {suggestion(name, self.names())}")
        return self._entries[name]

    def registered(self, name: str) -> Entry[Kind] | None:
        """The entry of a name, if it is registered by now; no plugin is imported."""
        return self._entries.get(name)


def own_names_first(registered: type) -> None:
    """Register what is ours before a class of others, so that a name of ours is found to be taken."""
    if registered.__module__.partition(".")[0] != "adaptkit":
        load_own()


def suggestion(word: str, known: Iterable[str]) -> str:
    """What to write in place of an unknown word: the nearest known ones, or all of them."""
    listed: Sequence[str] = list(known)
    found = near(word, listed)
    return f"did you mean {' or '.join(found)}?" if found else f"known: {', '.join(listed) or 'none'}"


def article(noun: str) -> str:
    """The noun with its indefinite article, for messages."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
