"""Methods, wrappers, objectives and heads by name: a decorator registers one, and functions list them."""

from collections.abc import Callable
from typing import TypeVar

from adaptkit.contract.catalogue import Catalogue, Touches, article, own_names_first
from adaptkit.contract.head import Head
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.objective import Objective
from adaptkit.contract.wrapper import MethodWrapper

Method = TypeVar("Method", bound=type[AdaptedCLIP])
Wrapper = TypeVar("Wrapper", bound=type[MethodWrapper])
Minimised = TypeVar("Minimised", bound=type[Objective])
Answering = TypeVar("Answering", bound=type[Head])

METHODS = Catalogue[AdaptedCLIP]("method")
WRAPPERS = Catalogue[MethodWrapper]("wrapper")
OBJECTIVES = Catalogue[Objective]("objective")
HEADS = Catalogue[Head]("head")
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
        own_names_first(method)
        _share_options(name, config, WRAPPERS)
        _keep_apart(name, HEADS)
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
        own_names_first(wrapper)
        _share_options(name, config, METHODS)
        _keep_apart(name, OBJECTIVES, HEADS)
        WRAPPERS.add(name, wrapper, config)
        return wrapper

    return register


def register_objective(name: str, config: type) -> Callable[[Minimised], Minimised]:
    """Register an objective class, constructed from (method, inner, config), under the stem of its file.

    Raises:
        ValueError: if the name is taken or reserved, or is a method's or a wrapper's.
    """

    def register(objective: Minimised) -> Minimised:
        own_names_first(objective)
        _keep_apart(name, METHODS, WRAPPERS, HEADS)
        OBJECTIVES.add(name, objective, config)
        return objective

    return register


def register_head(name: str, config: type, *, touches: Touches | None = None) -> Callable[[Answering], Answering]:
    """Register a head class, constructed from (backbone, config), under the stem of its file.

    Args:
        touches: where the head touches CLIP, as of a method.

    Raises:
        ValueError: if the name is taken or reserved, or is another kind's.

    Example:
        ```python
        @dataclass(frozen=True)
        class LengthConfig:
            scale: float = 1.0  # of the length

        @adaptkit.register_head("length", LengthConfig, touches="after")
        class Length(adaptkit.Head):
            consumes = "features"

            def __init__(self, backbone, config):
                super().__init__(backbone)
                self.scale = config.scale

            def outputs(self, x):
                return self.scale * x.norm(dim=-1)

            def described(self, outputs):
                return [{"length": float(length)} for length in outputs]
        ```
    """

    def register(head: Answering) -> Answering:
        own_names_first(head)
        _keep_apart(name, METHODS, WRAPPERS, OBJECTIVES)
        HEADS.add(name, head, config, touches)
        return head

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


def list_heads() -> list[str]:
    """Names of all heads, sorted; those of installed plugins are among them.

    Example:
        ```python
        assert "uniqa_adapter" in adaptkit.list_heads()
        ```
    """
    return HEADS.names()


def head_class(name: str) -> type[Head]:
    """The class behind a head's name.

    Raises:
        ValueError: if there is no such head.

    Example:
        ```python
        assert issubclass(adaptkit.head_class("uniqa_adapter"), adaptkit.Head)
        ```
    """
    return HEADS.get(name).made_from


def head_config(name: str) -> type:
    """The dataclass of a head's options.

    Raises:
        ValueError: if there is no such head.

    Example:
        ```python
        options = adaptkit.head_config("uniqa_adapter")()
        ```
    """
    return HEADS.get(name).config
