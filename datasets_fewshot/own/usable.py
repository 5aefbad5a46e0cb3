"""Whether own data can be learnt from and tested on: asked before anything is computed."""

from collections import Counter
from collections.abc import Sequence

from datasets_fewshot.dataset import FewShotDataset
from datasets_fewshot.own.found import AS_ONE_CLASS
from datasets_fewshot.splits.validation import NAMES_SHOWN

FEW_TEST_IMAGES = 30


def check_usable(dataset: FewShotDataset, training: bool = True) -> tuple[str, ...]:
    """Check the images and return notes for the user on minor problems, such as classes without a test image.

    Args:
        training: False if nothing is learnt of the images.

    Raises:
        ValueError: if there is one class only, two classes have one name, or there is no training or no test image.
    """
    names, split = dataset.classnames, dataset.split
    if len(names) < 2:
        explained = "".join(f"; {note}" for note in dataset.notes if AS_ONE_CLASS in note)
        raise ValueError(
            f"{dataset.name} has one class only, {names[0]!r}, so there is nothing to tell apart; add a folder (or "
            f"rows) of other images, even if you call them 'something else'{explained}"
        )
    if twice := same_names(names):
        raise ValueError(f"{dataset.name}: {twice[0]}")
    if training and not split.train:
        raise ValueError(f"{dataset.name} has no training images; put some into its train part, or do away with parts")
    if not split.test:
        val = f"test on its {len(split.val)} val images with --val-as-test, " if split.val else ""
        raise ValueError(
            f"{dataset.name} has no test images, so nobody would know how well it works; {val}add a test part, two or "
            "more images to every class, or do away with parts (give the train folder alone) to have some set aside"
            + "".join(f"; {note}" for note in dataset.notes if "no class folders" in note)
        )
    trained = Counter(item.label for item in split.train)
    tested = Counter(item.label for item in split.test)
    notes = []
    unlearnt = [name for label, name in enumerate(names) if not trained[label]]
    if unlearnt and training:
        notes.append(f"no training image of {_shown(unlearnt)}; only their names tell the model of them")
    untested = [name for label, name in enumerate(names) if not tested[label]]
    if untested:
        notes.append(f"no test image of {_shown(untested)}; the accuracy says nothing of them")
    if len(split.test) < FEW_TEST_IMAGES:
        notes.append(f"{len(split.test)} test images are few: mind the interval behind the accuracy")
    return tuple(notes)


def same_names(classnames: Sequence[str]) -> tuple[str, ...]:
    """A note on classes that the model cannot tell apart by name: "golden_retriever" and "Golden retriever"."""
    spoken: dict[str, list[str]] = {}
    for name in classnames:
        spoken.setdefault(" ".join(name.replace("_", " ").split()).casefold(), []).append(name)
    twice = [names for names in spoken.values() if len(names) > 1]
    if not twice:
        return ()
    shown = "; ".join(" and ".join(repr(name) for name in names) for names in twice[:NAMES_SHOWN])
    return (
        f"{len(twice)} names stand for two classes, because capitals and underscores make no difference: {shown}; put "
        "their images together, or name the classes apart in a classnames.txt beside the data or with --classnames",
    )


def _shown(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")
