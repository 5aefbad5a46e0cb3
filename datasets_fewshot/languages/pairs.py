"""Pairs of an English text and its translation, which a language is learnt from."""

from collections.abc import Sequence
from pathlib import Path

from adaptkit.regular_file import read_text, said
from datasets_fewshot.languages.labels import LabelsError, LanguageLabels

TextPair = tuple[str, str]  # English, and its translation


def read_text_pairs(path: str | Path) -> list[TextPair]:
    """Pairs of a file with English, a tab and the translation in every line.

    Raises:
        FileNotFoundError: if there is no such file.
        LabelsError: if a line has not two texts, or there is no line.
    """
    pairs = []
    for number, line in enumerate(read_text(path, "pairs of texts").splitlines(), start=1):
        if not line.strip():
            continue
        parts = [part.strip() for part in line.split("\t")]
        if len(parts) != 2 or not all(parts):
            raise LabelsError(f"line {number} of {said(path)} is {line!r}; expected English, a tab and its translation")
        pairs.append((parts[0], parts[1]))
    if not pairs:
        raise LabelsError(f"{said(path)} has no pair of texts; write English, a tab and its translation in every line")
    return pairs


def pairs_of_names(
    english: Sequence[str], labels: LanguageLabels, classes: Sequence[int] | None = None
) -> list[TextPair]:
    """Pairs of the English names of a data set's classes and their names in a language.

    Args:
        english: names of all classes, in label order.
        classes: indices of the classes that are taken; those without a name in the language are left out. None: all.
    """
    taken = set(labels.indices if classes is None else classes)
    return [
        (english[index].replace("_", " "), name)
        for index, own in zip(labels.indices, labels.names, strict=True)
        if index in taken
        for name in own
    ]
