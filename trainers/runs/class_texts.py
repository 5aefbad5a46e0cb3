"""What a person says of the classes of a run, as its method reads it."""

from collections.abc import Sequence

from adaptkit import ClassSet, method_class
from adaptkit.backbone.tokenizer import Tokenizer
from adaptkit.contract.registry import wrapper_class
from trainers.config.settings import RunConfig


def read_classes(config: RunConfig, classnames: Sequence[str], tokenizer: Tokenizer | None = None) -> ClassSet:
    """The classes of a run: names in its templates, or as its texts have them.

    Args:
        tokenizer: cuts texts that are too long for the text tower; None leaves them as they are.
    """
    classes = ClassSet(tuple(classnames), config.templates)
    if config.texts is None:
        return classes
    return config.texts.described(classes, takes_sentences=takes_sentences(config), tokenizer=tokenizer)


def takes_sentences(config: RunConfig) -> bool:
    """Whether the prompts of a run's method are hand-written, so that it reads descriptors and sentences."""
    wrappers = [wrapper_class(name) for name, _ in config.wrap]
    return method_class(config.method).takes_sentences and all(wrapper.passes_sentences for wrapper in wrappers)


def notes_on_texts(config: RunConfig, classnames: Sequence[str]) -> tuple[str, ...]:
    """What a reader of the result has to know of the texts: the classes without any, and what has no effect."""
    if config.texts is None:
        return ()
    notes, left_out = [], config.texts.left_out(classnames)
    if left_out:
        notes.append(f"nothing is said of {len(left_out)} classes, such as {left_out[0]!r}; their templates are read")
    unread = [one.classname for one in config.texts.classes if one.descriptors or one.sentences]
    if unread and not takes_sentences(config):
        notes.append(
            f"{config.label} reads the names at most: descriptors and sentences of {len(unread)} classes change "
            "zero-shot beside it and not what it learns"
        )
    return tuple(notes)
