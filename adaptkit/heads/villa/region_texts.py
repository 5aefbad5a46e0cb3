"""Texts of regions: the sentences of an image's text that name the attributes which were assigned to a region.

A text is cut at every dot, and parts of at most 3 characters are dropped. Of each attribute of a region one sentence
that names it is taken, a drawn one where there are several. Words are matched whole, also at the start of a sentence;
where no sentence names an attribute, the attribute is the sentence.

The released code (StanfordMIMI/villa 9b29196) looks for a space and then the attribute, so that "red" matches "a
redwood" and not "Red paint", and fails where nothing matches; `released=True` matches so.

The embedding of a text is n(mean of n(g(sentence))), not that of the joined sentences.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

SHORTEST = 4  # characters of a part between dots that counts as a sentence, with the spaces around it
JOINT = " . "

Draw = Callable[[int], int]  # how many sentences there are -> the number of one of them


@dataclass(frozen=True)
class RegionText:
    """What is said of a region."""

    sentences: tuple[str, ...]  # one for each attribute, in the order of these
    unnamed: int = 0  # attributes that no sentence names, so that they are sentences themselves

    @property
    def joined(self) -> str:
        """The sentences as one text."""
        return JOINT.join(self.sentences)


def sentences_of(text: str) -> list[str]:
    """The parts of a text between dots, stripped, without those of at most 3 characters."""
    return [part.strip() for part in text.split(".") if len(part) >= SHORTEST]


def names_attribute(text: str, attribute: str) -> bool:
    """Whether a text has the words of an attribute in a row, whole, in letters of any case."""
    words = r"\W+".join(map(re.escape, attribute.lower().split()))
    return re.search(rf"(?<!\w){words}(?!\w)", text.lower()) is not None


def naming_sentences(sentences: Sequence[str], attribute: str, released: bool = False) -> list[int]:
    """Numbers of the sentences that name an attribute.

    Args:
        released: match a space followed by the attribute, as released, in place of whole words.
    """
    if released:
        return [place for place, sentence in enumerate(sentences) if f" {attribute}" in sentence.lower()]
    return [place for place, sentence in enumerate(sentences) if names_attribute(sentence, attribute)]


def region_text(text: str, attributes: Sequence[str], draw: Draw, released: bool = False) -> RegionText:
    """What an image's text says of a region with these attributes.

    Args:
        draw: takes one of several sentences, such as `lambda count: 0`.
        released: match as released.

    Raises:
        ValueError: as released, if no sentence names an attribute.

    Example:
        ```python
        from adaptkit.heads.villa import region_text

        said = region_text("Red paint on a door. The door is wooden.", ["red", "new"], lambda count: 0)
        assert said.joined == "Red paint on a door . new" and said.unnamed == 1
        ```
    """
    sentences, found, unnamed = sentences_of(text), [], 0
    for attribute in attributes:
        places = naming_sentences(sentences, attribute, released)
        if places:
            found.append(sentences[places[draw(len(places)) % len(places)]])
        elif released:
            raise ValueError(f"no sentence has {' ' + attribute!r}: {text[:80]!r}; use released=False")
        else:
            found.append(attribute)
            unnamed += 1
    return RegionText(tuple(found), unnamed)


def listed_attributes(texts: Sequence[str], attributes: Sequence[str]) -> Tensor:
    """Which of B texts names which of A attributes: (B, A) bool."""
    found = [[names_attribute(text, attribute) for attribute in attributes] for text in texts]
    return torch.tensor(found, dtype=torch.bool).reshape(len(texts), len(attributes))


def mean_embedding(sentence_features: Tensor) -> Tensor:
    """Features (K, D) of the sentences of one text -> its embedding (D,): the mean of unit rows at length 1.

    Raises:
        ValueError: if there is no sentence.
    """
    if not len(sentence_features):
        raise ValueError("a text without sentences has no embedding; give one sentence or more")
    return F.normalize(F.normalize(sentence_features, dim=-1).mean(dim=0), dim=-1)
