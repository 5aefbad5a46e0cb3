"""Single values of a configuration: fitted to their declared types, or refused with the nearest valid names."""

import difflib
import types
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias, Union, get_args, get_origin

Scalar: TypeAlias = "str | int | float | bool"
Condition: TypeAlias = "Mapping[str, Scalar]"

WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


class ConfigError(ValueError):
    """A setting that cannot be; the message is for the user."""


def fit(value: object, hint: object, key: str, source: str) -> object:
    """The value as the annotation declares it: 1 and "1e-5" are floats where a float is declared, lists are tuples.

    Raises:
        ConfigError: names the key, the value, its source and what was expected.
    """
    try:
        return _fit(value, hint)
    except (TypeError, ValueError):
        raise ConfigError(f"{key} is {value!r} {source}; expected {_describe(hint)}") from None


def _fit(value: object, hint: object) -> object:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return _fit(value, inner)
    if origin is Literal:
        if value not in arguments or isinstance(value, bool):
            raise ValueError
        return value
    if origin is tuple:
        return tuple(_fit(item, arguments[0]) for item in (value if isinstance(value, list | tuple) else [value]))
    if hint is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        return float(value)  # YAML reads 1e-5, without a full stop, as text
    if hint in WORDS and type(value) is hint:
        return value
    raise TypeError


def _describe(hint: object) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join("null" if argument is type(None) else _describe(argument) for argument in arguments)
    if origin is Literal:
        return "one of " + ", ".join(str(argument) for argument in arguments)
    if origin is tuple:
        return f"a list, each entry {_describe(arguments[0])}"
    return WORDS.get(hint, str(hint)) if isinstance(hint, type) else str(hint)


def check_name(key: str, name: str, valid: Sequence[str]) -> None:
    """Raise a ConfigError with the nearest valid names unless the name is one of them."""
    if name not in valid:
        raise ConfigError(f"{key}: there is no {name!r}; {nearest(name, valid)}")


def nearest(name: str, valid: Sequence[str], prefix: str = "") -> str:
    """ "did you mean a or b?" with up to three near names, or all valid ones where none is near."""
    by_folded = {candidate.lower(): prefix + candidate for candidate in valid}
    near = difflib.get_close_matches(name.lower(), list(by_folded), n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(by_folded[folded] for folded in near)}?"
    return f"known: {', '.join(by_folded[folded] for folded in sorted(by_folded)) or 'none'}"


def as_tuple(values: object) -> tuple[Scalar, ...]:
    """The values of a condition: one, or a list."""
    listed = values if isinstance(values, list | tuple) else [values]
    return tuple(value if isinstance(value, str | int | float | bool) else str(value) for value in listed)
