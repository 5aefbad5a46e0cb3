"""ClassSet: the classes of a task by name, and the templates that put a name into a sentence."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from adaptkit.classes.templates import DEFAULT_TEMPLATE


@dataclass(frozen=True)
class ClassSet:
    """The classes that a method tells apart, in label order.

    Names stay as given; prompts read them through `readable`.

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
            check_template(template)

    def __len__(self) -> int:
        return len(self.classnames)

    def with_templates(self, templates: Sequence[str]) -> "ClassSet":
        """The same class names with other templates."""
        return replace(self, templates=tuple(templates))

    @property
    def readable(self) -> tuple[str, ...]:
        """Class names with spaces for underscores, as prompts say them."""
        return tuple(name.replace("_", " ") for name in self.classnames)


def check_template(template: str) -> None:
    """Check that a template has one {} and no other brace, which `str.format` would read as another field.

    Raises:
        ValueError: for any other text.
    """
    if not isinstance(template, str) or template.count("{}") != 1 or set(template.replace("{}", "")) & set("{}"):
        raise ValueError(f"template {template!r} needs exactly one {{}} where the class name goes, and no other brace")


class _NoClasses(ClassSet):
    """The one set without classes; `ClassSet` refuses an empty list because it is mostly a mistake."""

    def __post_init__(self) -> None:
        return None


# Classes of a method that is built for its towers alone; `set_classes` may give it others later.
NO_CLASSES: ClassSet = _NoClasses(())


def as_class_set(classes: "Sequence[str] | ClassSet", templates: Sequence[str] | None = None) -> ClassSet:
    """Names with templates as a `ClassSet`; a `ClassSet` keeps its templates unless others are given."""
    if isinstance(classes, ClassSet):
        return classes if templates is None else classes.with_templates(templates)
    if isinstance(classes, str):
        raise ValueError(f"classnames {classes!r} is one string; give a list of names")
    return ClassSet(tuple(classes), (DEFAULT_TEMPLATE,) if templates is None else tuple(templates))
