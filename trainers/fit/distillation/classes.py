"""Classes of a student: those it learns from and those it is only tested on, and what is said of them in words."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from adaptkit import ClassSet
from adaptkit.backbone.tokenizer import Tokenizer
from adaptkit.layers.image_texts import fit_texts
from adaptkit.texts.descriptions import Descriptions
from datasets_fewshot import FewShotDataset, Item, Split
from trainers.compute.seeds import derived_seed

TEMPLATE = "a photo of a {}."
DESCRIBED = "a photo of a {} . "  # as released, in front of one sentence on the look of the class


def held_out_classes(classnames: Sequence[str], share: float, seed: int) -> tuple[str, ...]:
    """A share of the classes, drawn by seed, in label order.

    Raises:
        ValueError: if fewer than two classes would be left on one side.
    """
    count = round(share * len(classnames))
    if min(count, len(classnames) - count) < 2:
        raise ValueError(
            f"{share:g} of {len(classnames)} classes leaves {len(classnames) - count} to train on and {count} to test "
            "on; two or more are needed for both"
        )
    generator = torch.Generator().manual_seed(derived_seed("held out", seed))
    chosen = sorted(torch.randperm(len(classnames), generator=generator)[:count].tolist())
    return tuple(classnames[label] for label in chosen)


def divided(dataset: FewShotDataset, held_out: Sequence[str]) -> tuple[FewShotDataset, FewShotDataset]:
    """The data set without the held-out classes, and that of the held-out classes alone; labels count from 0 in both.

    Raises:
        ValueError: if a name is no class.
    """
    unknown = sorted(set(held_out) - set(dataset.classnames))
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no class of {dataset.name}, so it cannot be held out; check its spelling")
    kept = [label for label, name in enumerate(dataset.classnames) if name not in held_out]
    others = [label for label, name in enumerate(dataset.classnames) if name in held_out]
    return _of_labels(dataset, kept), _of_labels(dataset, others)


def _of_labels(dataset: FewShotDataset, labels: Sequence[int]) -> FewShotDataset:
    new = {label: place for place, label in enumerate(labels)}
    lists = (
        tuple(Item(item.path, new[item.label], item.classname) for item in items if item.label in new)
        for items in dataset.split
    )
    return replace(dataset, split=Split(*lists))


def described(classnames: Sequence[str], descriptions: Descriptions | None, tokenizer: Tokenizer) -> ClassSet:
    """Classes with the released texts: "a photo of a {}." or "a photo of a {} . " and one sentence of its look.

    The descriptors of a class become one sentence with commas. A text is cut where the text tower's context ends.

    Raises:
        ValueError: if a file of descriptions says nothing of a class.
    """
    classes = ClassSet(tuple(classnames), (TEMPLATE,))
    if descriptions is None:
        return classes
    sentences = []
    for name, readable in zip(classnames, classes.readable, strict=True):
        own = descriptions.of(name)
        if not own:
            raise ValueError(f"the descriptions say nothing of the class {name!r}; add it, or leave the file out")
        sentences.append(DESCRIBED.replace("{}", readable) + ", ".join(one.text for one in own))
    # A brace in a sentence would stand for the name.
    fitted = [text.replace("{}", "") for text in fit_texts(sentences, tokenizer)]
    return replace(classes, sentences=tuple((text,) for text in fitted))
