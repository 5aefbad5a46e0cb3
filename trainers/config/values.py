"""Single values of a configuration: fitted to their declared types, or refused with the nearest valid names."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import TypeAlias, get_args, get_origin

from adaptkit.options import Limits, from_plain, near, problem

Scalar: TypeAlias = "str | int | float | bool"
Condition: TypeAlias = "Mapping[str, Scalar]"


class ConfigError(ValueError):
    """A setting that cannot be; the message is for the user."""


def as_declared(value: object, hint: object, key: str, source: str, limits: Limits | None = None) -> object:
    """The value as the annotation declares it: 1 and "1e-5" are floats where a float is declared, lists are tuples.

    Raises:
        ConfigError: names the key, the value, its source and what was expected.
    """
    fitted = _from_yaml(value, hint)
    wrong = problem(fitted, hint, limits)
    if wrong is not None:
        raise ConfigError(f"{key} is {value!r} {source}; {wrong}")
    return fitted


def _from_yaml(value: object, hint: object) -> object:
    """A value as YAML has it: a list of one may be written without brackets, and 1e-5 is text without a full stop."""
    if get_origin(hint) is tuple:
        listed = value if isinstance(value, list | tuple) else [value]
        return tuple(_from_yaml(entry, get_args(hint)[0]) for entry in listed)
    if isinstance(value, str) and problem(value, hint) and not problem(0.0, hint):  # no text, and a float would do
        with contextlib.suppress(ValueError):
            return float(value)
    return from_plain(value, hint)


def check_name(key: str, name: str, valid: Sequence[str]) -> None:
    """Raise a ConfigError with the nearest valid names unless the name is one of them."""
    if name not in valid:
        raise ConfigError(f"{key}: there is no {name!r}; {nearest(name, valid)}")


def nearest(name: str, valid: Sequence[str], prefix: str = "") -> str:
    """ "did you mean a or b?" with up to three near names, or all valid ones where none is near."""
    by_folded = {candidate.lower(): prefix + candidate for candidate in valid}
    found = near(name.lower(), by_folded)
    if found:
        return f"did you mean {' or '.join(by_folded[folded] for folded in found)}?"
    return f"known: {', '.join(by_folded[folded] for folded in sorted(by_folded)) or 'none'}"


def as_tuple(values: object) -> tuple[Scalar, ...]:
    """The values of a condition: one, or a list."""
    listed = values if isinstance(values, list | tuple) else [values]
    return tuple(value if isinstance(value, str | int | float | bool) else str(value) for value in listed)
