"""Methods, wrappers and objectives by name: a decorator registers one, a name and a backbone make one."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_set import NO_CLASSES, ClassSet, as_class_set
from adaptkit.contract.adapted_towers import AdaptedTowers, MethodSpec
from adaptkit.contract.batches import LabelledBatch
from adaptkit.contract.catalogue import Catalogue, Touches, article, suggestion
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.objective import Objective, Trained
from adaptkit.contract.wrapper import MakeInner, MethodWrapper
from adaptkit.options import check, values_of
from adaptkit.options import make as make_options

Method = TypeVar("Method", bound=type[AdaptedCLIP])
Wrapper = TypeVar("Wrapper", bound=type[MethodWrapper])
Minimised = TypeVar("Minimised", bound=type[Objective])

METHODS = Catalogue[AdaptedCLIP]("method")
WRAPPERS = Catalogue[MethodWrapper]("wrapper")
OBJECTIVES = Catalogue[Objective]("objective")
CROSS_ENTROPY = "cross_entropy"  # the objective that stands innermost, and alone where none is named


def register_method(name: str, config: type, *, touches: Touches | None = None) -> Callable[[Method], Method]:
    """Register a method class, constructed from (backbone, classes, config), under the stem of its file.

    Args:
        name: lower-case letters, digits and underscores.
        config: the frozen dataclass of its options, all with defaults.
        touches: where the method touches CLIP; lists of methods are grouped by it.

    Raises:
        ValueError: if the name is taken or reserved, or is a wrapper's with other options.

    Example:
        ```python
        @dataclass(frozen=True)
        class ScaledConfig:
            factor: float = 1.0  # of the logits

        @adaptkit.register_method("scaled", ScaledConfig, touches="after")
        class Scaled(adaptkit.AdaptedCLIP):
            consumes = "features"

            def __init__(self, backbone, classes, config):
                super().__init__(backbone, classes)
                self.factor = torch.nn.Parameter(torch.tensor(config.factor))
                self.text_features = adaptkit.class_weights(backbone, classes)  # (C, D)

            def logits(self, image_features):
                return self.factor * self.backbone.logits(image_features, self.text_features)

            def loss(self, image_features, labels):
                return torch.nn.functional.cross_entropy(self.logits(image_features), labels)

        method = adaptkit.create_method("scaled", adaptkit.load_backbone("adaptkit-mini"), ["corgi", "husky"])
        ```
    """

    def register(method: Method) -> Method:
        _share_options(name, config, WRAPPERS)
        METHODS.add(name, method, config, touches)
        return method

    return register


def register_wrapper(name: str, config: type) -> Callable[[Wrapper], Wrapper]:
    """Register a wrapper class, constructed from (backbone, make_inner, config), under the stem of its file.

    Raises:
        ValueError: if the name is taken, reserved or an objective's, or is a method's with other options.

    Example:
        ```python
        @dataclass(frozen=True)
        class ShiftedConfig:
            shift: float = 1.0  # of the logits

        @adaptkit.register_wrapper("shifted", ShiftedConfig)
        class Shifted(adaptkit.MethodWrapper):
            withholds = frozenset({"class_weights"})  # they would not give these logits

            def __init__(self, backbone, make_inner, config):
                super().__init__(backbone, make_inner(backbone))
                self.shift = config.shift

            def logits(self, x):
                return super().logits(x) + self.shift

        backbone = adaptkit.load_backbone("adaptkit-mini")
        method = adaptkit.create_method("zero_shot", backbone, ["corgi", "husky"], wrap=["shifted"])
        ```
    """

    def register(wrapper: Wrapper) -> Wrapper:
        _share_options(name, config, METHODS)
        _keep_apart(name, OBJECTIVES)
        WRAPPERS.add(name, wrapper, config)
        return wrapper

    return register


def register_objective(name: str, config: type) -> Callable[[Minimised], Minimised]:
    """Register an objective class, constructed from (method, inner, config), under the stem of its file.

    Raises:
        ValueError: if the name is taken or reserved, or is a method's or a wrapper's.
    """

    def register(objective: Minimised) -> Minimised:
        _keep_apart(name, METHODS, WRAPPERS)
        OBJECTIVES.add(name, objective, config)
        return objective

    return register


def _share_options(name: str, config: type, others: Catalogue[AdaptedCLIP] | Catalogue[MethodWrapper]) -> None:
    """A method and a wrapper of one name are one section of settings, so they need the same options."""
    other = others.registered(name)
    if other is not None and other.config is not config:
        raise ValueError(
            f"{name!r} is {article(others.kind)} with the options {other.config.__name__}, and one section of settings "
            f"cannot hold {config.__name__} as well; choose another name"
        )


def _keep_apart(name: str, *catalogues: Catalogue) -> None:
    for catalogue in catalogues:
        if catalogue.registered(name) is not None:
            raise ValueError(
                f"{name!r} names {article(catalogue.kind)} already, and labels of runs name both; choose another"
            )


def list_methods() -> list[str]:
    """Names of all methods, sorted; those of installed plugins are among them.

    Example:
        ```python
        assert "coop" in adaptkit.list_methods()
        ```
    """
    return METHODS.names()


def method_class(name: str) -> type[AdaptedCLIP]:
    """The class behind a name.

    Raises:
        ValueError: if there is no such method.
    """
    return METHODS.get(name).made_from


def method_config(name: str) -> type:
    """The dataclass of a method's options, with its paper's defaults.

    Raises:
        ValueError: if there is no such method.
    """
    return METHODS.get(name).config


def list_wrappers() -> list[str]:
    """Names of all wrappers, sorted; those of installed plugins are among them.

    Example:
        ```python
        assert "das" in adaptkit.list_wrappers()
        ```
    """
    return WRAPPERS.names()


def wrapper_class(name: str) -> type[MethodWrapper]:
    """The class behind a wrapper's name.

    Raises:
        ValueError: if there is no such wrapper.
    """
    return WRAPPERS.get(name).made_from


def wrapper_config(name: str) -> type:
    """The dataclass of a wrapper's options.

    Raises:
        ValueError: if there is no such wrapper.
    """
    return WRAPPERS.get(name).config


def list_objectives() -> list[str]:
    """Names of all objectives, sorted; those of installed plugins are among them.

    Example:
        ```python
        assert "cross_entropy" in adaptkit.list_objectives()
        ```
    """
    return OBJECTIVES.names()


def objective_class(name: str) -> type[Objective]:
    """The class behind an objective's name.

    Raises:
        ValueError: if there is no such objective.
    """
    return OBJECTIVES.get(name).made_from


def objective_config(name: str) -> type:
    """The dataclass of an objective's options.

    Raises:
        ValueError: if there is no such objective.
    """
    return OBJECTIVES.get(name).config


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
        ValueError: if a name or an option is unknown, an option cannot have its value, the backbone lacks what the
            method needs, a wrapper cannot stand around what it is given, or there are no classes and what the method
            learns belongs to classes.

    Example:
        ```python
        backbone = adaptkit.load_backbone("adaptkit-mini")
        method = adaptkit.create_method("coop", backbone, ["corgi", "husky"], n_ctx=4, wrap=["fdt"])
        logits = method(torch.rand(4, 3, 48, 48))  # (4, 2)
        ```
    """
    entry = METHODS.get(name)
    method, config_type = entry.made_from, entry.config
    if not isinstance(backbone, FrozenCLIP):
        raise ValueError(
            f"{name} needs a FrozenCLIP around the model, got {type(backbone).__name__}; make one with "
            "load_backbone(name, ...) or, from a model in memory, as_backbone(model)"
        )
    known = [field.name for field in dataclasses.fields(config_type)]
    for option in options:
        if option not in known:
            raise ValueError(f"{name} has no option {option!r}; {suggestion(option, known)}")
    if classnames is None and "encode_text" not in method.provides:
        raise ValueError(f"{name} learns what belongs to classes; give their names in label order as classnames")
    classes = NO_CLASSES if classnames is None else as_class_set(classnames, templates)
    config = _checked(name, config_type, config, **options)
    make: MakeInner = partial(_construct, method, classes=classes, config=config)
    wrappers: list[tuple[str, object]] = []
    for wrapped in reversed(wrap):
        wrapper, its_config = (wrapped, None) if isinstance(wrapped, str) else wrapped
        found = WRAPPERS.get(wrapper)
        wrappers.insert(0, (wrapper, _checked(wrapper, found.config, its_config)))
        make = partial(_construct_wrapper, found.made_from, make_inner=make, config=wrappers[0][1])
    made = make(backbone)
    made.spec = MethodSpec(name, config, tuple(wrappers))
    return made


def create_objective(method: AdaptedTowers, objectives: "Sequence[str | tuple[str, object]]" = ()) -> Objective:
    """What a training of a method minimises.

    Args:
        method: the method that is to be trained, as it stands before.
        objectives: the outermost first: names, or (name, options as the objective's dataclass). Cross-entropy, which
            is innermost, need not be named; an objective of image-text pairs stands in its place.

    Raises:
        ValueError: if a name or an option is unknown, or an option cannot have its value.
    """
    named = [(given, None) if isinstance(given, str) else given for given in objectives]
    labels = not named or issubclass(OBJECTIVES.get(named[-1][0]).made_from.takes, LabelledBatch)
    if labels and CROSS_ENTROPY not in [name for name, _ in named]:
        named.append((CROSS_ENTROPY, None))
    objective: Objective | None = None
    for name, config in reversed(named):
        entry = OBJECTIVES.get(name)
        checked = _checked(name, entry.config, config)
        objective = entry.made_from(method, objective, checked)  # type: ignore[call-arg]
    assert objective is not None
    return objective.to(method.device)


def trained_by(method: AdaptedCLIP, objectives: "Sequence[str | tuple[str, object]]" = ()) -> AdaptedCLIP:
    """The method as a trainer steps it: itself where its own loss is minimised, else a view with the objectives' loss.

    What is learnt is learnt in `method`, which is what is tested and saved.

    Raises:
        ValueError: if an objective is unknown, takes image-text pairs, or cannot train this method.
    """
    names = [given if isinstance(given, str) else given[0] for given in objectives]
    if set(names) <= {CROSS_ENTROPY}:
        return method
    return Trained(method, create_objective(method, objectives))


def _construct(method: type[AdaptedCLIP], backbone: FrozenCLIP, classes: ClassSet, config: object) -> AdaptedCLIP:
    return method(backbone, classes, config)  # type: ignore[call-arg]


def _construct_wrapper(
    wrapper: type[MethodWrapper], backbone: FrozenCLIP, make_inner: MakeInner, config: object
) -> AdaptedCLIP:
    return wrapper(backbone, make_inner, config)  # type: ignore[arg-type, call-arg]


def _checked(name: str, config_type: type, config: object | None, /, **options: object) -> object:
    config = config_type() if config is None else config
    if not isinstance(config, config_type):
        raise ValueError(f"{name} takes its options as {config_type.__name__}, got {type(config).__name__}")
    try:
        if options:
            return make_options(type(config), {**values_of(config), **options})
        check(type(config), values_of(config))
        return config  # itself: a search finds the options that it settles by what they are
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
