"""A method, wrapped or not, an objective or a head, made from its name, its options and a backbone."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_set import NO_CLASSES, ClassSet, as_class_set
from adaptkit.contract.adapted_towers import AdaptedTowers, MethodSpec
from adaptkit.contract.batches import LabelledBatch
from adaptkit.contract.catalogue import suggestion
from adaptkit.contract.head import Head
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.objective import Objective, Trained
from adaptkit.contract.registry import CROSS_ENTROPY, HEADS, METHODS, OBJECTIVES, WRAPPERS
from adaptkit.contract.wrapper import MakeInner, MethodWrapper
from adaptkit.options import check, values_of
from adaptkit.options import make as make_options


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
    _check_given(name, backbone, config_type, options)
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


def create_head(name: str, backbone: FrozenCLIP, config: object | None = None, **options: object) -> Head:
    """A head behind the towers of a backbone, not trained yet.

    Args:
        config: the head's options as its dataclass; None for the paper's defaults.
        options: fields of the dataclass, instead of or on top of `config`.

    Raises:
        ValueError: if the name or an option is unknown, an option cannot have its value, or the backbone lacks what
            the head needs.

    Example:
        ```python
        backbone = adaptkit.load_backbone("adaptkit-mini")
        head = adaptkit.create_head("uniqa_adapter", backbone)
        print(head.answers(["photo.jpg"]))
        ```
    """
    entry = HEADS.get(name)
    _check_given(name, backbone, entry.config, options)
    config = _checked(name, entry.config, config, **options)
    head = entry.made_from(backbone, config)  # type: ignore[call-arg]
    head.spec = MethodSpec(name, config)
    return head


def _check_given(name: str, backbone: FrozenCLIP, config_type: type, options: Mapping[str, object]) -> None:
    """Check what a method or a head is to be made of."""
    if not isinstance(backbone, FrozenCLIP):
        raise ValueError(
            f"{name} needs a FrozenCLIP around the model, got {type(backbone).__name__}; make one with "
            "load_backbone(name, ...) or, from a model in memory, as_backbone(model)"
        )
    known = [field.name for field in dataclasses.fields(config_type)]
    for option in options:
        if option not in known:
            raise ValueError(f"{name} has no option {option!r}; {suggestion(option, known)}")


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


def with_classes(make_inner: MakeInner, change: Callable[[ClassSet], ClassSet]) -> MakeInner:
    """What makes an inner method, with other classes: for wrappers that say something else of the same classes.

    Args:
        make_inner: as a wrapper is given it.
        change: the classes that were given -> the classes of the innermost method.

    Raises:
        TypeError: if it was not made by `create_method`.
    """
    if not isinstance(make_inner, partial):
        raise TypeError("the inner method is not made by create_method, so its classes are not known; make it by name")
    given = dict(make_inner.keywords)
    if "classes" in given:
        given["classes"] = change(given["classes"])
    else:
        given["make_inner"] = with_classes(given["make_inner"], change)
    return partial(make_inner.func, *make_inner.args, **given)


def _construct(method: type[AdaptedCLIP], backbone: FrozenCLIP, classes: ClassSet, config: object) -> AdaptedCLIP:
    return method(backbone, classes, config)  # type: ignore[call-arg]


def _construct_wrapper(
    wrapper: type[MethodWrapper], backbone: FrozenCLIP, make_inner: MakeInner, config: object
) -> AdaptedCLIP:
    made = wrapper(backbone, make_inner, config)  # type: ignore[arg-type, call-arg]
    if made.inner.label_thresholds is not None:
        raise ValueError(
            "multi_label stands outermost, because its thresholds are of the scores that are answered with; name it "
            f"first, around {wrapper.__name__}"
        )
    return made


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
