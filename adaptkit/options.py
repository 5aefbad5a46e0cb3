"""Options as frozen dataclasses that check themselves: what a field may be stands with the field.

    @options
    class CoOpConfig:
        n_ctx: int = option(16, "Learnt tokens of the prompt.", least=1)
        class_token_position: Literal["end", "middle", "front"] = option("end", "Where the class name stands.")

The annotations and ranges serve whoever reads options: the constructor, `create_method`, saved adapters, YAML files and
the pages that list them. A plain frozen dataclass is read by the same rules; it has types and no help and no ranges.
"""

import dataclasses
import difflib
import functools
import sys
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from typing_extensions import dataclass_transform

from adaptkit.limits import Limits

Kind = TypeVar("Kind")
Value = TypeVar("Value")
WORDS: Mapping[object, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    type(None): "null",
}


@dataclass(frozen=True)
class Declaration:
    """What a field of a dataclass says that its values are."""

    hint: object  # the annotation, with its names looked up
    limits: Limits
    help: str

    def problem(self, value: object) -> str | None:
        """What was expected of a value that is something else; None for one that fits."""
        return problem(value, self.hint, self.limits)


@dataclass(frozen=True)
class OptionFacts:
    """What can be said of an option without reading its code."""

    name: str
    type: str  # in words: "a whole number", "one of relu, linear"
    default: object
    help: str  # whole sentences; empty for a field of a plain dataclass
    allowed: str  # the range of its numbers in words; empty where the type says all

    @property
    def takes(self) -> str:
        """The type with the range: "a whole number, 1 or more"."""
        return ", ".join(part for part in (self.type, self.allowed) if part)

    @property
    def sentences(self) -> str:
        """All of it but name and default: "Learnt tokens. Takes a whole number, 1 or more."."""
        return f"{self.help} Takes {self.takes}.".lstrip()


def option(
    default: Value,
    help: str,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    filled: bool = False,
    file: Callable[[str], object] | None = None,
    kept: str = "",
    in_epochs: bool = False,
    added: bool = False,
) -> Value:
    """A field of a class of options.

    Args:
        help: whole sentences on what it is, in which unit, and what its special values mean.
        least, most: the range of a number, or of every number of a tuple; both ends belong to it.
        above, below: ends that do not belong to it.
        filled: for text, or every text of a tuple, that may not be empty or blank.
        file: for an option that names a file: finds the path. What is in the file then counts for what a run is.
        kept: of a file whose content is among the learnt tensors: the value that stands for it.
        in_epochs: the number counts epochs, so it grows and shrinks with the length of a training.
        added: the option is younger than records of its class. At its default a run is what it was before, so the
            identity of a run does not mention it.
    """
    metadata = {
        "help": help,
        "limits": Limits(least, most, above, below, filled),
        "in_epochs": in_epochs,
        "added": added,
    }
    metadata |= {"file": file, "kept": kept} if file else {}
    return field(default=default, metadata=metadata)


# `option` is left out of the field specifiers: type checkers then take it for a default, and every option has one.
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def options(kind: type[Kind]) -> type[Kind]:
    """Make a class a frozen dataclass whose values are checked as it is made; its own `__post_init__` comes after."""
    own: Callable[[Kind], None] | None = getattr(kind, "__post_init__", None)

    def __post_init__(self: Kind) -> None:
        check(type(self), values_of(self))
        if own is not None:
            own(self)

    kind.__post_init__ = __post_init__  # type: ignore[attr-defined]
    return dataclass(frozen=True)(kind)


def values_of(config: object) -> dict[str, object]:
    """Option -> value, of what a constructor takes."""
    assert dataclasses.is_dataclass(config)
    return {entry.name: getattr(config, entry.name) for entry in dataclasses.fields(config) if entry.init}


def check(kind: type, values: Mapping[str, object]) -> None:
    """Refuse values that are not what the fields of a dataclass declare.

    Raises:
        ValueError: names the option, its value and what is allowed, with the nearest words.
    """
    for name, declaration in declared(kind).items():
        wrong = declaration.problem(values[name]) if name in values else None
        if wrong is not None:
            raise ValueError(f"{name}={values[name]!r}; {wrong}")


def make(kind: type[Kind], values: Mapping[str, object]) -> Kind:
    """A dataclass of checked values: also one that does not check itself.

    Raises:
        ValueError: if a value is not what its field declares, or the dataclass refuses them together.
    """
    check(kind, values)
    return kind(**values)


def declared(kind: type) -> Mapping[str, Declaration]:
    """Field -> what it declares, in the order of a dataclass.

    Raises:
        TypeError: if an annotation names something that cannot be found when the program runs.
    """
    return _declared(kind)


@functools.cache
def _declared(kind: type) -> Mapping[str, Declaration]:
    try:
        hints = get_type_hints(kind)
    except NameError as error:
        raise TypeError(
            f"the annotations of {kind.__name__} cannot be read ({error}); import what they name, outside of "
            "TYPE_CHECKING too"
        ) from None
    return {
        entry.name: Declaration(
            hints[entry.name], entry.metadata.get("limits", Limits()), entry.metadata.get("help", "")
        )
        for entry in dataclasses.fields(kind)
    }


def problem(value: object, hint: object, limits: Limits | None = None) -> str | None:
    """What was expected of a value that is not as its annotation and its range have it; None for one that is."""
    if not _has_type(value, hint):
        as_tuple = ", as a tuple" if isinstance(value, list) and _has_type(from_plain(value, hint), hint) else ""
        return f"expected {words(hint)}{as_tuple}{_nearest(value, hint)}"
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, str) and limits is not None and limits.filled and not number.strip():
            return "expected text that is not empty"
        if isinstance(number, float) or (isinstance(number, int) and not isinstance(number, bool)):
            wrong = (limits or Limits()).problem(number)
            if wrong is not None:
                return wrong
    return None


def _has_type(value: object, hint: object) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_has_type(value, argument) for argument in arguments)
    if origin is Literal:  # True == 1, and is not meant by it
        return any(type(value) is type(word) and value == word for word in arguments)
    if origin is tuple:
        return isinstance(value, tuple) and _all_have_types(value, arguments)
    if isinstance(origin, type):
        if isinstance(value, Mapping) and issubclass(origin, Mapping) and arguments:
            return isinstance(value, origin) and all(map(_all_have_types, value.items(), [arguments] * len(value)))
        return isinstance(value, origin)
    if hint in (int, float):
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        return is_whole if hint is int else isinstance(value, float) or (is_whole and _fits_a_float(value))
    if isinstance(hint, type) and hint is not Any and not getattr(hint, "_is_protocol", False):
        return isinstance(value, hint)
    return True  # such an annotation says nothing that a value could be asked for


def _fits_a_float(value: object) -> bool:
    return isinstance(value, int) and abs(value) <= sys.float_info.max


def _all_have_types(values: tuple[object, ...], hints: tuple[object, ...]) -> bool:
    if hints[1:] == (...,):
        values = _one_of_each_type(values, hints[0])
        hints = hints[:1] * len(values)
    return len(values) == len(hints) and all(map(_has_type, values, hints))


def _one_of_each_type(values: Sequence[object], hint: object) -> tuple[object, ...]:
    """Values that stand for all, because the annotation asks for their types alone; long lists have few types."""
    asked = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    kinds = {type(value): value for value in values}
    told_by_type = set(asked) <= {str, bool, float, type(None)} and int not in kinds  # an int may be too large a float
    return tuple(kinds.values()) if told_by_type else tuple(values)


def from_plain(value: object, hint: object) -> object:
    """A value of JSON or YAML as its annotation has it: lists become tuples, and whole numbers floats.

    What does not fit is left as it is, for `problem` to name.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        candidates = [from_plain(value, argument) for argument in arguments if not _has_type(value, type(None))]
        return next((each for each in candidates if _has_type(each, hint)), value)
    if origin is tuple and isinstance(value, list | tuple):
        if arguments[1:] == (...,) and len(_one_of_each_type(value, arguments[0])) < len(value):
            return tuple(value)  # values that are told by their types alone are plain already
        hints = arguments[:1] * len(value) if arguments[1:] == (...,) else arguments
        return tuple(map(from_plain, value, hints)) if len(hints) == len(value) else tuple(value)
    if hint is float and type(value) is int and _fits_a_float(value):
        return float(value)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        fields = declared(hint)
        known = {name: from_plain(value[name], fields[name].hint) for name in fields.keys() & value.keys()}
        return make(hint, known) if len(known) == len(value) else value
    return value


def words(hint: object) -> str:
    """An annotation in words, for messages and tables: "a whole number", "one of relu, linear"."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(words(argument) for argument in arguments)
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin is tuple and arguments[1:] == (...,):
        return f"a list, each entry {words(arguments[0])}"
    return WORDS.get(hint) or (hint.__name__ if isinstance(hint, type) and origin is None else str(hint))


def near(word: str, known: Iterable[str]) -> list[str]:
    """Up to three known words that are spelt like this one, the nearest first."""
    return difflib.get_close_matches(word, list(known), n=3, cutoff=0.5)


def _nearest(value: object, hint: object) -> str:
    known = _literal_words(hint)
    wrong = [word for word in (value if isinstance(value, list | tuple) else [value]) if word not in known]
    found = near(wrong[0], known) if wrong and isinstance(wrong[0], str) else []
    return f"; did you mean {' or '.join(found)}?" if found else ""


def _literal_words(hint: object) -> list[str]:
    if get_origin(hint) is Literal:
        return [word for word in get_args(hint) if isinstance(word, str)]
    return [word for argument in get_args(hint) for word in _literal_words(argument)]


def describe(kind: type) -> list[OptionFacts]:
    """What a class of options has, field by field; every field has a default."""
    defaults = kind()
    return [
        OptionFacts(name, words(said.hint), getattr(defaults, name), said.help, str(said.limits))
        for name, said in declared(kind).items()
    ]
