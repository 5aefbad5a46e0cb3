"""Sub-captions: the sentences of an image's captions, and which of them a step takes.

Zheng et al., "DreamLIP: Language-Image Pre-training with Long Captions", arXiv:2403.17007, as its released code splits
and draws them. All captions of an image are one pool of pieces.
"""

import re
from collections.abc import Sequence

import torch

END = re.compile(r"\n|</s>|\.")


def pieces_of(captions: Sequence[str], least_words: int = 1) -> list[str]:
    """The pieces of captions between full stops, line breaks and end tokens, in order.

    Args:
        least_words: pieces with fewer words are left out, unless no other is left; abbreviations make short ones.

    Example:
        ```python
        from adaptkit.objectives.dreamlip import pieces_of

        print(pieces_of(["A red car. It stands on a road.", "Sunny day"]))
        # ['A red car', 'It stands on a road', 'Sunny day']
        ```
    """
    pieces = [piece.strip() for caption in captions for piece in END.split(caption)]
    pieces = [piece for piece in pieces if piece]
    return [piece for piece in pieces if len(piece.split()) >= least_words] or pieces


def merged(pieces: Sequence[str], first: int, count: int = 1) -> str:
    """`count` pieces from the place `first` on, as one text."""
    return ". ".join(pieces[first : first + count])


def draw(places: int, count: int, generator: torch.Generator) -> list[int]:
    """`count` of the places 0 to `places` - 1: without repetition if there are enough, else with it.

    Raises:
        ValueError: if there is no place to draw from.
    """
    if places < 1:
        raise ValueError(f"nothing can be drawn from {places} places; give an image at least one piece of text")
    if places >= count:
        return torch.randperm(places, generator=generator)[:count].tolist()
    return torch.randint(places, (count,), generator=generator).tolist()


def text_from_descriptors(name: str, descriptors: Sequence[str]) -> str:
    """A long caption for an image that has only a class: its name, and a sentence for each descriptor of the class.

    Example:
        ```python
        from adaptkit.objectives.dreamlip import text_from_descriptors

        print(text_from_descriptors("corgi", ["short legs", "a fox-like face"]))
        # a photo of a corgi. It has short legs. It has a fox-like face.
        ```
    """
    return " ".join([f"a photo of a {name}.", *(f"It has {words.strip().rstrip('.')}." for words in descriptors)])
