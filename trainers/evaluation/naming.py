"""How well free names fit labelled images: CaSED, its parts alone, and what it is compared with.

A method that answers with names from a fixed vocabulary, and one that is told the classes, are judged by the same
numbers, so that a table shows what the captions are worth and how much the names of the classes would be.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from adaptkit.texts.cased.head import Cased
from adaptkit.texts.cased.metrics import clusters, semantic_iou, text_similarity
from adaptkit.texts.cased.naming import Naming
from adaptkit.texts.cased.shipped import shipped_names

ROWS_AT_ONCE = 256
COLUMNS = (
    ("micro", "cluster accuracy %"),
    ("macro", "mean over classes %"),
    ("iou", "semantic IoU %"),
    ("similarity", "similarity (CLIP text) %"),
    ("names", "names"),
)


@dataclass(frozen=True)
class Judged:
    """One way of naming on one set of images; shares in percent."""

    way: str
    micro: float  # cluster accuracy over images
    macro: float  # and over classes
    iou: float  # semantic IoU of name and class
    similarity: float  # cosine of name and class by CLIP's own text tower
    names: int  # different ones that were given
    candidates_per_image: float | None = None  # None where there are no candidates
    distinct_candidates: int | None = None


def judge_naming(
    head: Cased, features: Tensor, targets: Sequence[str], vocabularies: Mapping[str, Sequence[str]] | None = None
) -> list[Judged]:
    """Name images by their features (N, D) in every way, and judge the names.

    Args:
        targets: the images' class names, which only the last way is told.
        vocabularies: lists of names by what they are called; None for the nouns of the shipped captions.

    Raises:
        ValueError: if there are no images.
    """
    if vocabularies is None:
        vocabularies = {"nouns of WordNet": shipped_names()}
    found = []
    for way, options in (
        ("CaSED", {}),
        ("image alone (alpha 1)", {"alpha": 1.0}),
        ("captions alone (alpha 0)", {"alpha": 0.0}),
        ("no frequency filter", {"min_count": 1}),
        ("with pairs of nouns", {"bigrams": True}),
    ):
        namings = named(head.with_options(**options), features)
        found.append(judged(way, [naming.label for naming in namings], targets, head, namings))
    vocabulary, p = head.pooled_names(features)
    found.append(judged("one vocabulary for all", [vocabulary[best] for best in p.argmax(dim=-1)], targets, head))
    captions = [naming.captions[0].text for naming in named(head, features)]
    found.append(judged("closest caption", captions, targets, head))
    for name, words in vocabularies.items():
        found.append(judged(f"fixed: {name}", nearest_words(head, features, words), targets, head))
    classes = list(dict.fromkeys(targets))
    found.append(judged("told the classes", nearest_words(head, features, classes), targets, head))
    return found


def named(head: Cased, features: Tensor) -> list[Naming]:
    """Names for images by their features (N, D), some at a time."""
    return [naming for part in features.split(ROWS_AT_ONCE) for naming in head.names(part)]


def nearest_words(head: Cased, features: Tensor, words: Sequence[str]) -> list[str]:
    """The word of a list with the largest cosine, of each image."""
    with torch.no_grad():
        text_features = head.encode(words)
        places = [(head.outputs(part) @ text_features.T).argmax(dim=-1) for part in features.split(ROWS_AT_ONCE)]
    return [words[place] for place in torch.cat(places).tolist()]


def judged(
    way: str, labels: Sequence[str], targets: Sequence[str], head: Cased, namings: Sequence[Naming] | None = None
) -> Judged:
    """Names of images held against their classes."""
    accuracy = clusters(labels, targets)
    similarity = text_similarity(head.encode(labels), head.encode(targets))
    candidates = None if namings is None else [[one.name for one in naming.candidates] for naming in namings]
    return Judged(
        way,
        100 * accuracy.micro,
        100 * accuracy.macro,
        100 * semantic_iou(labels, targets),
        100 * similarity,
        len(set(labels)),
        None if candidates is None else sum(map(len, candidates)) / len(candidates),
        None if candidates is None else len({name for own in candidates for name in own}),
    )


def as_table(rows: Sequence[Judged]) -> str:
    """The judgements as a table for people."""
    cells = [["way", *(title for _, title in COLUMNS), "candidates"]]
    for row in rows:
        numbers = [
            f"{value:.1f}" if isinstance(value := getattr(row, name), float) else str(value) for name, _ in COLUMNS
        ]
        per_image = "-" if row.candidates_per_image is None else f"{row.candidates_per_image:.1f} an image"
        cells.append([row.way, *numbers, per_image])
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )
