"""Descriptions: what files say of classes in words, in the forms of DCLIP, CuPL and our own.

{"tabby cat": ["grey stripes", "an animal"]}
{"tabby cat": {"descriptors": [{"text": "grey stripes", "weight": 2.0, "enabled": true}], "source": "by hand"}}
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

from adaptkit.artefacts.atomic_file import Json, write_text
from adaptkit.regular_file import parse_json, read_text, shortened, user_path

WHAT = "file of descriptors"
MAX_BYTES = 256 * 2**20
OWN_FIELDS = {"text", "weight", "enabled"}


class DescriptionError(ValueError):
    """Error for descriptions that cannot be used; the message says where and what to do."""


@dataclass(frozen=True)
class Descriptor:
    """One visual phrase about a class, such as "grey stripes"."""

    text: str
    weight: float = 1.0  # its share among the descriptors of its class, before they are brought to a sum of 1
    enabled: bool = True  # a descriptor that is switched off takes no part and stays in the file


@dataclass(frozen=True)
class Report:
    """What a file of descriptors lacks of the classes of a data set, and has beside them."""

    missing: tuple[str, ...]  # classes that it says nothing of
    extra: tuple[str, ...]  # names in it that are no class
    empty: tuple[str, ...]  # classes with an empty list, or with no descriptor that is switched on

    @property
    def complete(self) -> bool:
        """Whether every class has a descriptor."""
        return not (self.missing or self.empty)


@dataclass(frozen=True)
class Descriptions:
    """Descriptors by class name, in the order of their file."""

    classes: Mapping[str, tuple[Descriptor, ...]]
    sources: Mapping[str, str]  # class -> where its descriptors come from, where that is said

    def of(self, name: str) -> tuple[Descriptor, ...] | None:
        """The descriptors of a class that are switched on; None if nothing is said of it.

        A name is found as it is written, and otherwise whatever its letter case, its underscores and its spaces are.
        """
        key = name if name in self.classes else self._spelt.get(plain(name))
        return None if key is None else tuple(one for one in self.classes[key] if one.enabled)

    @cached_property
    def _spelt(self) -> dict[str, str]:
        """Plain name -> the first name of the file that reads so."""
        return {plain(name): name for name in reversed(list(self.classes))}

    def report(self, classnames: Sequence[str]) -> Report:
        """What is missing, superfluous or empty for the classes of a data set."""
        wanted = {plain(name) for name in classnames}
        found = {name: self.of(name) for name in classnames}
        return Report(
            tuple(name for name, own in found.items() if own is None),
            tuple(name for name in self.classes if plain(name) not in wanted),
            tuple(name for name, own in found.items() if own == ()),
        )

    def changed(
        self, name: str, descriptor: str, *, weight: float | None = None, enabled: bool | None = None
    ) -> "Descriptions":
        """The same with one descriptor weighted otherwise, or switched on or off.

        Raises:
            DescriptionError: if the class has no such descriptor, or the weight is no positive number.
        """
        key = name if name in self.classes else self._spelt.get(plain(name), name)
        own = self.classes.get(key, ())
        if descriptor not in [one.text for one in own]:
            known = ", ".join(repr(one.text) for one in own) or "none"
            raise DescriptionError(f"{name!r} has no descriptor {descriptor!r}; it has {shortened(known)}")
        changes: dict[str, float | bool] = {} if weight is None else {"weight": _weight(weight, name)}
        changes |= {} if enabled is None else {"enabled": enabled}
        new = tuple(replace(one, **changes) if one.text == descriptor else one for one in own)  # type: ignore[arg-type]
        return replace(self, classes={**self.classes, key: new})

    def with_class(self, name: str, descriptors: Iterable[str], source: str = "") -> "Descriptions":
        """The same with a class and its descriptors, in the place of those that it had."""
        own = tuple(_descriptor(text, name) for text in descriptors)
        sources = {**self.sources, name: source} if source else self.sources
        return Descriptions({**self.classes, name: own}, sources)

    def merged(self, other: "Descriptions") -> "Descriptions":
        """Both together: a class of both has its own descriptors, then those of the other that it lacks."""
        classes = dict(self.classes)
        for name, own in other.classes.items():
            key = name if name in classes else self._spelt.get(plain(name), name)
            had = {one.text for one in classes.get(key, ())}
            classes[key] = (*classes.get(key, ()), *(one for one in own if one.text not in had))
        return Descriptions(classes, {**other.sources, **self.sources})

    def to_json(self) -> str:
        """The content of a file; classes whose descriptors are all alike in weight are written as plain lists."""
        written = json.JSONEncoder(ensure_ascii=False).encode  # line by line, as an indent takes three times as long
        lines = [f"{written(name)}: {written(self._entry(name))}" for name in self.classes]
        return "{\n" + ",\n".join(lines) + "\n}\n"

    def _entry(self, name: str) -> Json:
        own = self.classes[name]
        if name not in self.sources and all(one.weight == 1 and one.enabled for one in own):
            return [one.text for one in own]
        listed: list[Json] = [{"text": one.text, "weight": one.weight, "enabled": one.enabled} for one in own]
        return {"descriptors": listed, "source": self.sources.get(name, "")}

    def write(self, path: str | Path) -> Path:
        """Write a file that `read_descriptions` reads, whole or not at all."""
        written = user_path(path, WHAT)
        write_text(written, self.to_json())
        return written


def read_descriptions(*paths: str | Path) -> Descriptions:
    """Descriptions from one file, or from several that are merged in their order.

    Raises:
        FileNotFoundError: if there is no such file.
        DescriptionError: if one is not of a known form; the message names the class.
    """
    if not paths:
        raise DescriptionError("no file of descriptors is given; give one or more")
    read = [parse_descriptions(read_text(path, WHAT, MAX_BYTES), path) for path in paths]
    merged = read[0]
    for other in read[1:]:
        merged = merged.merged(other)
    return merged


@lru_cache(maxsize=8)  # a file is read for every method that is made or loaded
def parse_descriptions(text: str, place: str | Path) -> Descriptions:
    """Descriptions from the text of a file.

    Args:
        place: where the text is from, for errors.
    """
    content = parse_json(text, WHAT, place)
    if not isinstance(content, dict) or not content:
        raise DescriptionError(
            f"{place} is no {WHAT}; expected a JSON object of class name: [descriptors], with one class or more"
        )
    classes: dict[str, tuple[Descriptor, ...]] = {}
    sources: dict[str, str] = {}
    for written, entry in content.items():
        name = written.strip()
        if not name or name in classes:
            raise DescriptionError(f"{place} has the class {written!r} twice, or without a name; name each class once")
        try:
            classes[name], source = _entry_of(entry, name)
        except DescriptionError as error:
            raise DescriptionError(f"{place}: {error}") from None
        if source:
            sources[name] = source
    return Descriptions(classes, sources)


def plain(name: str) -> str:
    """A class name as it is compared: lower-case, with single spaces for underscores and hyphens."""
    return " ".join(name.replace("_", " ").replace("-", " ").lower().split())


def _entry_of(entry: object, name: str) -> tuple[tuple[Descriptor, ...], str]:
    source: object = ""
    if isinstance(entry, dict):
        source = entry.get("source", "")
        if not isinstance(source, str) or set(entry) - {"descriptors", "source"} or "descriptors" not in entry:
            raise DescriptionError(f'class {name!r} needs "descriptors" and may have a "source"; it has {list(entry)}')
        entry = entry["descriptors"]
    if not isinstance(entry, list):
        raise DescriptionError(f"class {name!r} has {shortened(repr(entry), 60)}; expected a list of descriptors")
    assert isinstance(source, str)
    return tuple(_descriptor(one, name) for one in entry), source


def _descriptor(given: object, name: str) -> Descriptor:
    if isinstance(given, str) and given.strip():
        return Descriptor(given)
    if isinstance(given, dict) and "text" in given and not set(given) - OWN_FIELDS:
        text, enabled = given["text"], given.get("enabled", True)
        if isinstance(text, str) and text.strip() and isinstance(enabled, bool):
            return Descriptor(text, _weight(given.get("weight", 1.0), name), enabled)
    raise DescriptionError(
        f"class {name!r} has the descriptor {shortened(repr(given), 60)}; expected a text, or an object with "
        '"text", "weight" and "enabled"'
    )


def _weight(given: object, name: str) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given < math.inf:
        raise DescriptionError(f"class {name!r} has a descriptor of weight {given!r}; expected a number above 0")
    return float(given)
