"""Protocols: which images and class names a run trains on, and which it is tested on.

A model is trained once and tested once or more. In base-to-novel (Zhou et al., arXiv:2203.05557) it learns the base
half of the classes and is tested on either half of the test images, each against the names of its own half only.
"""

from collections.abc import Callable
from dataclasses import dataclass

from datasets_fewshot import FewShotDataset, Item, Split, draw, select_classes


@dataclass(frozen=True)
class EvalSet:
    """Images to classify among the given names."""

    name: str  # "base" and "new", or "all"
    items: tuple[Item, ...]
    classnames: tuple[str, ...]  # C names in label order


@dataclass(frozen=True)
class Task:
    """One training and its tests. The classes of the training are all that the method sees while it learns."""

    train: tuple[Item, ...]
    val: tuple[Item, ...]  # at most 4 per class of the training, for methods that tune themselves; may be empty
    classnames: tuple[str, ...]  # of the training, in label order
    tests: tuple[EvalSet, ...]


def base_to_novel(dataset: FewShotDataset, shots: int, seed: int, draw_name: str = "coop") -> Task:
    """Train on K shots of each base class; test on the base and on the new test images.

    The shots are drawn over all classes and halved afterwards, as the papers do.
    """
    drawn = draw(draw_name, dataset.split, shots, seed)
    base, new = select_classes(drawn, "base"), select_classes(drawn, "new")
    tests = (EvalSet("base", base.test, classnames_of(base)), EvalSet("new", new.test, classnames_of(new)))
    return Task(base.train, base.val, classnames_of(base), tests)


def few_shot(dataset: FewShotDataset, shots: int, seed: int, draw_name: str = "coop") -> Task:
    """Train on K shots of every class; test on all test images."""
    drawn = draw(draw_name, dataset.split, shots, seed)
    names = classnames_of(drawn)
    return Task(drawn.train, drawn.val, names, (EvalSet("all", drawn.test, names),))


def classnames_of(split: Split) -> tuple[str, ...]:
    """The class names of the training list in label order, C of them, as the list writes them."""
    names = {item.label: item.classname for item in split.train}
    return tuple(names[label] for label in sorted(names))


MakeTask = Callable[[FewShotDataset, int, int, str], Task]  # (data set, shots, seed, draw) -> task
PROTOCOLS: dict[str, MakeTask] = {"base_to_novel": base_to_novel, "few_shot": few_shot}
