"""Methods by name: a decorator registers one, a name and a backbone make one."""

import dataclasses
import difflib
from collections.abc import Callable, Sequence
from typing import TypeVar

from adaptkit.backbone import FrozenCLIP
from adaptkit.classifier import ClassSet, as_class_set
from adaptkit.method import AdaptedCLIP

Method = TypeVar("Method", bound=type[AdaptedCLIP])
_METHODS: dict[str, tuple[type[AdaptedCLIP], type]] = {}


def register_method(name: str, config: type) -> Callable[[Method], Method]:
    """Register a method class, constructed from (backbone, classes, config), under the stem of its file.

    Raises:
        ValueError: if the name is taken.
    """

    def register(method: Method) -> Method:
        if name in _METHODS:
            raise ValueError(f"method {name!r} is already {_METHODS[name][0].__module__}; choose another name")
        _METHODS[name] = (method, config)
        return method

    return register


def list_methods() -> list[str]:
    """Names of all methods, sorted."""
    return sorted(_METHODS)


def method_class(name: str) -> type[AdaptedCLIP]:
    """The class behind a name.

    Raises:
        ValueError: if there is no such method.
    """
    return _lookup(name)[0]


def method_config(name: str) -> type:
    """The dataclass of a method's options, with its paper's defaults.

    Raises:
        ValueError: if there is no such method.
    """
    return _lookup(name)[1]


def create_method(
    name: str,
    backbone: FrozenCLIP,
    classnames: Sequence[str] | ClassSet,
    config: object | None = None,
    *,
    templates: Sequence[str] | None = None,
    **options: object,
) -> AdaptedCLIP:
    """A method around a backbone, not trained yet.

    Args:
        classnames: names in label order, or a `ClassSet`.
        config: the method's options as its dataclass; None for the paper's defaults.
        templates: sentences with one {} for the name; those of the `ClassSet`, or "a photo of a {}." by default.
        options: fields of the dataclass, instead of or on top of `config`.

    Raises:
        ValueError: if the name or an option is unknown, or the backbone lacks what the method needs.
    """
    method, config_type = _lookup(name)
    known = [field.name for field in dataclasses.fields(config_type)]
    for option in options:
        if option not in known:
            raise ValueError(f"{name} has no option {option!r}; {_suggestion(option, known)}")
    config = config_type() if config is None else config
    if not isinstance(config, config_type):
        raise ValueError(f"{name} takes its options as {config_type.__name__}, got {type(config).__name__}")
    return method(backbone, as_class_set(classnames, templates), dataclasses.replace(config, **options))  # type: ignore


def _lookup(name: str) -> tuple[type[AdaptedCLIP], type]:
    if name not in _METHODS:
        raise ValueError(f"unknown method {name!r}; {_suggestion(name, list_methods())}")
    return _METHODS[name]


def _suggestion(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known) or 'none'}"
