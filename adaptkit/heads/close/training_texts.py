"""Texts to learn on: sentences and descriptions of classes with their labels, captions with their tags."""

import re
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from adaptkit.classes.class_set import ClassSet
from adaptkit.texts.cased.lexicon import lexicon
from adaptkit.texts.cased.singular import singular
from adaptkit.texts.descriptions import Descriptions
from adaptkit.texts.phrases import PhraseStyle

WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")


def class_texts(classes: ClassSet, descriptions: Descriptions | None = None) -> tuple[list[str], Tensor]:
    """Texts of classes with labels (N,): the templates or sentences of each, then its descriptors as phrases.

    A phrase is "name, which has ..." inside of the first template; a class without descriptors has its templates alone.
    """
    style = PhraseStyle(template=classes.templates[0])
    texts, labels = [], []
    for label, (name, own) in enumerate(zip(classes.classnames, classes.texts, strict=True)):
        descriptors = (descriptions.of(name) if descriptions else None) or ()
        said = [*own, *(style.phrase(name, one.text) for one in descriptors)]
        texts += said
        labels += [label] * len(said)
    return texts, torch.tensor(labels)


def caption_tags(
    captions: Sequence[str], tags: Sequence[str] = (), least_captions: int = 1
) -> tuple[tuple[str, ...], Tensor]:
    """The tags that captions have, and which caption has which: 0 or 1, (N, T).

    A caption has a tag of one word if the word or its plural is in it, and a tag of several if they stand in a row.

    Args:
        tags: words to look for; empty for every noun of WordNet in the captions, in alphabetical order.
        least_captions: captions that a noun has to be in; it does not count for tags that are given.

    Raises:
        ValueError: if there are no captions, or nothing is found.
    """
    if not captions:
        raise ValueError("there are no captions; give one or more")
    words = [[singular(word) for word in WORD.findall(caption.lower())] for caption in captions]
    if not tags:
        counts = Counter(word for own in words for word in {*own} if lexicon().is_noun(word))
        tags = sorted(word for word, count in counts.items() if count >= least_captions)
        if not tags:
            raise ValueError(f"no noun is in {least_captions} of {len(captions)} captions; lower least_captions")
    looked_for = [" ".join(singular(word) for word in WORD.findall(tag.lower())) for tag in tags]
    lines = [f" {' '.join(own)} " for own in words]
    return tuple(tags), torch.tensor([[float(f" {tag} " in line) for tag in looked_for] for line in lines])
