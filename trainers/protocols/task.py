"""A task is one training and its tests; sources are the data sets that the tasks of a bench are made from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from datasets_fewshot import FewShotDataset, Item, Split

Targets = Mapping[str, FewShotDataset]  # name of a test -> where its images lie
NO_TARGETS: Targets = MappingProxyType({})


@dataclass(frozen=True)
class EvalSet:
    """Images to classify among the given names."""

    name: str  # "base" and "new", "all", or the data set or domain
    dataset: FewShotDataset  # where the images lie
    items: tuple[Item, ...]
    classnames: tuple[str, ...]  # C names in label order
    # Where the classes are some of the training's: their labels there, C of them, so that a method that is bound to its
    # classes can answer with a part of its logits. Empty elsewhere.
    learnt_labels: tuple[int, ...] = ()


@dataclass(frozen=True)
class Task:
    """One training and its tests. The classes of the training are all that the method sees while it learns."""

    train: tuple[Item, ...]
    val: tuple[Item, ...]  # at most 4 per class of the training, for methods that tune themselves; may be empty
    classnames: tuple[str, ...]  # of the training, in label order
    tests: tuple[EvalSet, ...]

    @property
    def new_names(self) -> tuple[str, ...]:
        """Class names of the tests that the training has not: for those who say that they look at them."""
        tested = dict.fromkeys(name for test in self.tests for name in test.classnames)
        return tuple(name for name in tested if name not in self.classnames)


def with_all_unlabelled(task: Task, dataset: FewShotDataset) -> Task:
    """The task of a method without labels that learns from every training image, and knows the names of all classes."""
    return replace(task, train=dataset.split.train, classnames=classnames_of(dataset.split))


def is_transductive(task: Task) -> bool:
    """Whether a training has seen classes that a test calls new: its tests are on parts of the training's classes."""
    parts = (test for test in task.tests if not test.learnt_labels)
    return any(set(test.classnames) < set(task.classnames) for test in parts)


@dataclass(frozen=True)
class Wanted:
    """The data sets that a bench names, and how one of them is loaded."""

    datasets: tuple[str, ...]  # that are learnt from
    targets: tuple[str, ...]  # that are tested on besides
    load: Callable[..., FewShotDataset]  # (name, **options of its loader) -> data set
    families: tuple[str, ...] = ()  # drawing families to learn from, in the embedded data


@dataclass(frozen=True)
class Sources:
    """Data sets by name, and for each of them where else it is tested."""

    datasets: Mapping[str, FewShotDataset]
    targets: Mapping[str, Targets]  # has no entry for a data set that is tested on its own images alone


def load_alone(wanted: Wanted) -> Sources:
    """Load data sets that are learnt from and tested on their own images."""
    return Sources({name: wanted.load(name) for name in wanted.datasets}, {})


def classnames_of(split: Split) -> tuple[str, ...]:
    """The class names of a split in label order, C of them, as its lists write them.

    A class without training images is one of them: its images are tested, and its label counts in the order.
    """
    names: dict[int, str] = {}
    for items in split:
        for item in items:
            names.setdefault(item.label, item.classname)
    return tuple(names[label] for label in sorted(names))
