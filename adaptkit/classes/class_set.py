"""Class names and templates -> class weights: the zero-shot classifier of CLIP (Radford et al., arXiv:2103.00020)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.templates import DEFAULT_TEMPLATE


@dataclass(frozen=True)
class ClassSet:
    """The classes that a method tells apart, in label order.

    Names stay as they were given; prompts read them through `readable`.

    Raises:
        ValueError: if there is no class, a name is blank, or a template is not a sentence with one {} in it.
    """

    classnames: tuple[str, ...]
    templates: tuple[str, ...] = (DEFAULT_TEMPLATE,)

    def __post_init__(self) -> None:
        object.__setattr__(self, "classnames", tuple(self.classnames))
        object.__setattr__(self, "templates", tuple(self.templates))
        if not self.classnames:
            raise ValueError("no classes: give at least one class name")
        for label, name in enumerate(self.classnames):
            if not isinstance(name, str) or not name.strip():
                raise ValueError(f"class {label} has the name {name!r}; give every class a name in words")
        if not self.templates:
            raise ValueError(f"no templates: give at least one, such as {DEFAULT_TEMPLATE!r}")
        for template in self.templates:
            if template.count("{}") != 1:
                raise ValueError(f"template {template!r} needs exactly one {{}} where the class name goes")

    def __len__(self) -> int:
        return len(self.classnames)

    @property
    def readable(self) -> tuple[str, ...]:
        """Names as prompts say them: underscores are spaces."""
        return tuple(name.replace("_", " ") for name in self.classnames)


def as_class_set(classes: "Sequence[str] | ClassSet", templates: Sequence[str] | None = None) -> ClassSet:
    """Names with templates as a `ClassSet`; a `ClassSet` keeps its templates unless others are given."""
    if isinstance(classes, ClassSet):
        return classes if templates is None else ClassSet(classes.classnames, tuple(templates))
    if isinstance(classes, str):
        raise ValueError(f"classnames {classes!r} is one string; give a list of names")
    return ClassSet(tuple(classes), (DEFAULT_TEMPLATE,) if templates is None else tuple(templates))


def class_weights(backbone: FrozenCLIP, classes: ClassSet) -> Tensor:
    """The zero-shot classifier (C, D), unit rows.

    One template: the normalised text feature. Several: the mean of the normalised features, normalised again.
    """
    per_template = torch.stack(
        [F.normalize(template_features(backbone, classes, template), dim=-1) for template in classes.templates]
    )  # (templates, C, D)
    if len(per_template) == 1:
        return per_template[0]
    return F.normalize(per_template.mean(dim=0), dim=-1)


def template_features(backbone: FrozenCLIP, classes: ClassSet, template: str) -> Tensor:
    """Text features (C, D) of one template, not normalised; nothing is recorded for gradients."""
    with torch.no_grad():
        return backbone.encode_text([template.format(name) for name in classes.readable])
