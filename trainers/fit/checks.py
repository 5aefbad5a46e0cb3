"""Checks of the user's own data, made before a backbone is loaded or an image is encoded."""

from collections import Counter
from collections.abc import Sequence

from adaptkit import ClassSet, FrozenCLIP
from datasets_fewshot import FewShotDataset

NAMES_SHOWN = 5
FEW_TEST_IMAGES = 30


def check_images(dataset: FewShotDataset) -> tuple[str, ...]:
    """Check the images and return notes for the user on minor problems, such as classes without a test image.

    Raises:
        ValueError: if there is one class only, or no training or no test image.
    """
    names, split = dataset.classnames, dataset.split
    if len(names) < 2:
        raise ValueError(
            f"{dataset.name} has one class only, {names[0]!r}, so there is nothing to tell apart; add a folder (or "
            "rows) of other images, even if you call them 'something else'"
        )
    if not split.train:
        raise ValueError(f"{dataset.name} has no training images; put some into its train part, or do away with parts")
    if not split.test:
        raise ValueError(
            f"{dataset.name} has no test images, so nobody would know how well it works; add a test part, two or more "
            "images to every class, or do away with parts to have some set aside"
        )
    trained = Counter(item.label for item in split.train)
    tested = Counter(item.label for item in split.test)
    notes = []
    unlearnt = [name for label, name in enumerate(names) if not trained[label]]
    if unlearnt:
        notes.append(f"no training image of {_shown(unlearnt)}; only their names tell the model of them")
    untested = [name for label, name in enumerate(names) if not tested[label]]
    if untested:
        notes.append(f"no test image of {_shown(untested)}; the accuracy says nothing of them")
    if len(split.test) < FEW_TEST_IMAGES:
        notes.append(f"{len(split.test)} test images are few: mind the interval behind the accuracy")
    return tuple(notes)


def check_names(classes: ClassSet, backbone: FrozenCLIP) -> None:
    """Check that every class name's prompt fits into the text tower's context.

    Raises:
        ValueError: lists the class names that are too long.
    """
    tokenizer = backbone.tokenizer
    special = tokenizer.n_special
    longest = max(classes.templates, key=lambda template: len(tokenizer.words(template.format("X"))))
    lengths = {name: special + len(tokenizer.words(longest.format(name))) for name in classes.readable}
    too_long = [name for name, length in lengths.items() if length > backbone.context_length]
    if too_long:
        raise ValueError(
            f"{len(too_long)} class names are too long for the {backbone.context_length} positions of "
            f"{backbone.name}'s text tower: {_shown(too_long)} needs {lengths[too_long[0]]} in {longest!r}; shorten "
            "them in a classnames.txt beside the data, or with --classnames"
        )


def _shown(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")
