"""Protocols: which images and class names a run trains on, and which it is tested on.

A model is trained once and tested once or more. In base-to-novel (Zhou et al., arXiv:2203.05557) it learns the base
half of the classes and is tested on either half of the test images, each against the names of its own half only.
Cross-data-set and domain generalisation (the same paper) learn all classes of one data set and test elsewhere: on other
data sets with their names in the prompts, or on images of the same classes that look different.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from datasets_fewshot import FewShotDataset, Item, Split, draw, imagenet_labels, list_datasets, select_classes

VARIANTS = "imagenet_variants"  # the suite of ImageNet's other test sets


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


def base_to_novel(dataset: FewShotDataset, shots: int, seed: int, draw_name: str = "coop") -> Task:
    """Train on K shots of each base class; test on the base and on the new test images.

    The shots are drawn over all classes and halved afterwards, as the papers do.
    """
    drawn = draw(draw_name, dataset.split, shots, seed)
    base, new = select_classes(drawn, "base"), select_classes(drawn, "new")
    tests = tuple(
        EvalSet(name, dataset, half.test, classnames_of(half)) for name, half in (("base", base), ("new", new))
    )
    return Task(base.train, base.val, classnames_of(base), tests)


def few_shot(dataset: FewShotDataset, shots: int, seed: int, draw_name: str = "coop") -> Task:
    """Train on K shots of every class; test on all test images."""
    drawn = draw(draw_name, dataset.split, shots, seed)
    names = classnames_of(drawn)
    return Task(drawn.train, drawn.val, names, (EvalSet("all", dataset, drawn.test, names),))


def cross_dataset(
    source: FewShotDataset,
    targets: Mapping[str, FewShotDataset],
    shots: int,
    seed: int,
    draw_name: str = "coop",
) -> Task:
    """Train on K shots of every class of the source; test on its test images, then on every target's.

    A target's prompts are the learnt ones, or the source's templates, around the target's class names.
    """
    drawn = draw(draw_name, source.split, shots, seed)
    names = classnames_of(drawn)
    others = (EvalSet(name, target, target.split.test, target.classnames) for name, target in targets.items())
    return Task(drawn.train, drawn.val, names, (EvalSet(source.name, source, drawn.test, names), *others))


def domain_generalization(
    source: FewShotDataset,
    domains: Mapping[str, FewShotDataset],
    shots: int,
    seed: int,
    draw_name: str = "coop",
) -> Task:
    """Train on K shots of every class of the source; test on its test images, if any, then on every domain's.

    ImageNet-A and -R have 200 of ImageNet's classes, and are classified among these 200.
    """
    drawn = draw(draw_name, source.split, shots, seed)
    names = source.classnames
    own = (EvalSet(source.name, source, drawn.test, names),) if drawn.test else ()
    variants = list_datasets(VARIANTS)
    others = (
        EvalSet(name, domain, domain.split.test, domain.classnames, imagenet_labels(name) if name in variants else ())
        for name, domain in domains.items()
    )
    return Task(drawn.train, drawn.val, names, (*own, *others))


def classnames_of(split: Split) -> tuple[str, ...]:
    """The class names of the training list in label order, C of them, as the list writes them."""
    names = {item.label: item.classname for item in split.train}
    return tuple(names[label] for label in sorted(names))


WithinOne = Callable[[FewShotDataset, int, int, str], Task]  # (data set, shots, seed, draw) -> task
Transfer = Callable[[FewShotDataset, Mapping[str, FewShotDataset], int, int, str], Task]  # with the other test sets
WITHIN_ONE: dict[str, WithinOne] = {"base_to_novel": base_to_novel, "few_shot": few_shot}
TRANSFERS: dict[str, Transfer] = {"cross_dataset": cross_dataset, "domain_generalization": domain_generalization}
PROTOCOLS = (*WITHIN_ONE, *TRANSFERS)
NEW_NAMES = ("base_to_novel", "cross_dataset")  # protocols that test on names that were not learnt
