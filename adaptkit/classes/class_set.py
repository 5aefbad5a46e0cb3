"""ClassSet: the classes of a task by name, and the templates that put a name into a sentence."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from adaptkit.classes.templates import DEFAULT_TEMPLATE


@dataclass(frozen=True)
class ClassSet:
    """The classes that a method tells apart, in label order.

    Names stay as given; prompts read them through `readable`.

    Args:
        templates: sentences with one {} for the name, for all classes alike.
        sentences: of each class its own one or more, in the place of templates; a {} in one stands for the name. Only
            methods whose prompts are hand-written take them (`AdaptedCLIP.takes_sentences`).
        spoken: of each class what prompts say in the place of its name; answers say the name all the same.

    Raises:
        ValueError: if there is no class, a name or a sentence is blank, a template is not a sentence with one {} in it,
            or there are not sentences or spoken names for every class.
    """

    classnames: tuple[str, ...]
    templates: tuple[str, ...] = (DEFAULT_TEMPLATE,)
    sentences: tuple[tuple[str, ...], ...] | None = None
    spoken: tuple[str, ...] | None = None

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
        if self.sentences is not None:
            object.__setattr__(self, "sentences", _checked_sentences(self.classnames, self.sentences))
        if self.spoken is not None:
            object.__setattr__(self, "spoken", _checked_spoken(self.classnames, self.spoken))

    def __len__(self) -> int:
        return len(self.classnames)

    def with_templates(self, templates: Sequence[str]) -> "ClassSet":
        """The same class names with other templates, and without sentences of their own."""
        return replace(self, templates=tuple(templates), sentences=None)

    def with_class(self, name: str) -> "ClassSet":
        """The same classes and one more, whose sentences are those of the templates."""
        sentences = None if self.sentences is None else (*self.sentences, self.templates)
        spoken = None if self.spoken is None else (*self.spoken, name)
        return replace(self, classnames=(*self.classnames, name), sentences=sentences, spoken=spoken)

    @property
    def texts(self) -> tuple[tuple[str, ...], ...]:
        """The hand-written prompts of every class: its own sentences, or the templates with its name."""
        written = self.sentences or (self.templates,) * len(self)
        return tuple(
            tuple(sentence.replace("{}", name) for sentence in own)
            for name, own in zip(self.readable, written, strict=True)
        )

    @property
    def readable(self) -> tuple[str, ...]:
        """Class names with spaces for underscores, as prompts say them: the spoken ones, where there are some."""
        return tuple(name.replace("_", " ") for name in self.spoken or self.classnames)


def _checked_sentences(classnames: Sequence[str], sentences: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """Sentences of C classes, as tuples."""
    if isinstance(sentences, str) or not isinstance(sentences, Sequence):
        raise ValueError(f"sentences={sentences!r}; expected a list with a list of sentences for every class")
    if len(sentences) != len(classnames):
        raise ValueError(f"sentences of {len(sentences)} classes for {len(classnames)} classes; give some for each")
    for name, own in zip(classnames, sentences, strict=True):
        is_list = isinstance(own, Sequence) and not isinstance(own, str)
        if not is_list or not own or not all(isinstance(text, str) and text.strip() for text in own):
            raise ValueError(f"class {name!r} has the sentences {own!r}; give it a list of one or more")
    return tuple(tuple(own) for own in sentences)


def _checked_spoken(classnames: Sequence[str], spoken: Sequence[str]) -> tuple[str, ...]:
    """What prompts say of C classes, as a tuple."""
    if isinstance(spoken, str) or len(spoken) != len(classnames):
        raise ValueError(f"spoken={spoken!r} for {len(classnames)} classes; give a list with one name for each")
    for name, said in zip(classnames, spoken, strict=True):
        if not isinstance(said, str) or not said.strip():
            raise ValueError(f"class {name!r} is spoken as {said!r}; give it a name in words")
    return tuple(spoken)


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
    """Names with templates as a `ClassSet`; a `ClassSet` keeps its templates unless others are given.

    Raises:
        ValueError: if the names are one string, or templates are given for classes with sentences of their own.
    """
    if isinstance(classes, ClassSet):
        if templates is not None and classes.sentences is not None:
            raise ValueError(
                f"templates={tuple(templates)!r} for classes with sentences of their own; give one of them"
            )
        return classes if templates is None else classes.with_templates(templates)
    if isinstance(classes, str):
        raise ValueError(f"classnames {classes!r} is one string; give a list of names")
    return ClassSet(tuple(classes), (DEFAULT_TEMPLATE,) if templates is None else tuple(templates))
