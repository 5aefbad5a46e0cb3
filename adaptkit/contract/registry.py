"""Methods and wrappers by name: a decorator registers one, a name and a backbone make one."""

import dataclasses
import difflib
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_set import NO_CLASSES, ClassSet, as_class_set
from adaptkit.contract.method import AdaptedCLIP, MethodSpec
from adaptkit.contract.wrapper import MakeInner, MethodWrapper

Method = TypeVar("Method", bound=type[AdaptedCLIP])
Wrapper = TypeVar("Wrapper", bound=type[MethodWrapper])
_METHODS: dict[str, tuple[type[AdaptedCLIP], type]] = {}
_WRAPPERS: dict[str, tuple[type[MethodWrapper], type]] = {}


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


def register_wrapper(name: str, config: type) -> Callable[[Wrapper], Wrapper]:
    """Register a wrapper class, constructed from (backbone, make_inner, config), under the stem of its file.

    Raises:
        ValueError: if the name is taken.
    """

    def register(wrapper: Wrapper) -> Wrapper:
        if name in _WRAPPERS:
            raise ValueError(f"wrapper {name!r} is already {_WRAPPERS[name][0].__module__}; choose another name")
        _WRAPPERS[name] = (wrapper, config)
        return wrapper

    return register


def list_wrappers() -> list[str]:
    """Names of all wrappers, sorted."""
    return sorted(_WRAPPERS)


def wrapper_class(name: str) -> type[MethodWrapper]:
    """The class behind a wrapper's name.

    Raises:
        ValueError: if there is no such wrapper.
    """
    return _lookup_wrapper(name)[0]


def wrapper_config(name: str) -> type:
    """The dataclass of a wrapper's options.

    Raises:
        ValueError: if there is no such wrapper.
    """
    return _lookup_wrapper(name)[1]


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
    classnames: Sequence[str] | ClassSet | None,
    config: object | None = None,
    *,
    templates: Sequence[str] | None = None,
    wrap: "Sequence[str | tuple[str, object]]" = (),
    **options: object,
) -> AdaptedCLIP:
    """A method around a backbone, not trained yet.

    Args:
        classnames: names in label order, or a `ClassSet`. None makes a method whose adapted towers alone are wanted,
            as for image-text pairs; `set_classes` gives it classes later.
        config: the method's options as its dataclass; None for the paper's defaults.
        templates: sentences with one {} for the name; those of the `ClassSet`, or "a photo of a {}." by default.
        wrap: wrappers around the method, the outermost first: names, or (name, options as the wrapper's dataclass).
        options: fields of the dataclass, instead of or on top of `config`.

    Raises:
        ValueError: if a name or an option is unknown, the backbone lacks what the method needs, a wrapper cannot
            stand around what it is given, or there are no classes and what the method learns belongs to classes.
    """
    method, config_type = _lookup(name)
    if not isinstance(backbone, FrozenCLIP):
        raise ValueError(
            f"{name} needs a FrozenCLIP around the model, got {type(backbone).__name__}; make one with "
            "load_backbone(name, ...) or, from a model in memory, as_backbone(model)"
        )
    known = [field.name for field in dataclasses.fields(config_type)]
    for option in options:
        if option not in known:
            raise ValueError(f"{name} has no option {option!r}; {_suggestion(option, known)}")
    if classnames is None and "encode_text" not in method.provides:
        raise ValueError(f"{name} learns what belongs to classes; give their names in label order as classnames")
    classes = NO_CLASSES if classnames is None else as_class_set(classnames, templates)
    config = dataclasses.replace(_checked(name, config_type, config), **options)  # type: ignore[type-var]
    make: MakeInner = partial(_construct, method, classes=classes, config=config)
    wrappers: list[tuple[str, object]] = []
    for wrapped in reversed(wrap):
        wrapper, its_config = (wrapped, None) if isinstance(wrapped, str) else wrapped
        its_class, its_type = _lookup_wrapper(wrapper)
        wrappers.insert(0, (wrapper, _checked(wrapper, its_type, its_config)))
        make = partial(_construct_wrapper, its_class, make_inner=make, config=wrappers[0][1])
    made = make(backbone)
    made.spec = MethodSpec(name, config, tuple(wrappers))
    return made


def _construct(method: type[AdaptedCLIP], backbone: FrozenCLIP, classes: ClassSet, config: object) -> AdaptedCLIP:
    return method(backbone, classes, config)  # type: ignore[call-arg]


def _construct_wrapper(
    wrapper: type[MethodWrapper], backbone: FrozenCLIP, make_inner: MakeInner, config: object
) -> AdaptedCLIP:
    return wrapper(backbone, make_inner, config)  # type: ignore[arg-type, call-arg]


def _checked(name: str, config_type: type, config: object | None) -> object:
    config = config_type() if config is None else config
    if not isinstance(config, config_type):
        raise ValueError(f"{name} takes its options as {config_type.__name__}, got {type(config).__name__}")
    return config


def _lookup(name: str) -> tuple[type[AdaptedCLIP], type]:
    if name not in _METHODS:
        raise ValueError(f"unknown method {name!r}; {_suggestion(name, list_methods())}")
    return _METHODS[name]


def _lookup_wrapper(name: str) -> tuple[type[MethodWrapper], type]:
    if name not in _WRAPPERS:
        raise ValueError(f"unknown wrapper {name!r}; {_suggestion(name, list_wrappers())}")
    return _WRAPPERS[name]


def _suggestion(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known) or 'none'}"
