"""How well free names fit classes that they never saw: cluster accuracy, semantic IoU, similarity of texts.

Conti et al., arXiv:2306.00917. A name need not be the class's own: cluster accuracy asks whether images of one class
get one name, and the others ask how near that name is to the class's.

Departure: where several assignments match equally many images, the one with the highest mean over classes is taken, so
that no result depends on the order of images; the released code takes whichever its solver finds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Clusters:
    """How the best one-to-one assignment of predicted names to classes does, as shares of 1."""

    micro: float  # of all images
    macro: float  # mean over all classes; a class without a name counts 0
    names: dict[str, str]  # class -> the name assigned to it


def clusters(predictions: Sequence[str], targets: Sequence[str]) -> Clusters:
    """Assign each predicted name to at most one class, so that as many images as possible are right.

    Raises:
        ValueError: if there are no images, or not one prediction of each.
    """
    _check(predictions, targets)
    words, classes = sorted(set(predictions)), sorted(set(targets))
    word_at = {word: place for place, word in enumerate(words)}
    class_at = {name: place for place, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(words)))  # (C, W)
    for word, name in zip(predictions, targets, strict=True):
        counts[class_at[name], word_at[word]] += 1
    shares = counts / counts.sum(axis=1, keepdims=True)
    chosen = assignment(counts + shares / (2 * len(classes)))  # whole images first: all shares together are below one
    pairs = [(row, column) for row, column in enumerate(chosen) if column >= 0 and counts[row, column] > 0]
    return Clusters(
        micro=float(sum(counts[pair] for pair in pairs)) / len(targets),
        macro=float(sum(shares[pair] for pair in pairs)) / len(classes),
        names={classes[row]: words[column] for row, column in pairs},
    )


def cluster_accuracy(
    predictions: Sequence[str], targets: Sequence[str], average: Literal["micro", "macro"] = "micro"
) -> float:
    """Share of images whose name is the one assigned to their class.

    Example:
        ```python
        from adaptkit.texts.cased.metrics import cluster_accuracy

        assert cluster_accuracy(["x", "x", "y"], ["cat", "cat", "dog"]) == 1.0
        ```
    """
    found = clusters(predictions, targets)
    return found.micro if average == "micro" else found.macro


def assignment(gains: np.ndarray) -> list[int]:
    """For each row of gains (R, C), 0 or more, the column assigned to it, or -1; the sum of gains is the largest.

    Hungarian algorithm with shortest augmenting paths (Kuhn 1955; Jonker and Volgenant 1987). Where there are more rows
    than columns, rows stay without one, as with columns of zeros.
    """
    rows, columns = gains.shape
    if rows > columns:
        owner = assignment(gains.T)
        return [owner.index(row) if row in owner else -1 for row in range(rows)]
    costs = -gains
    row_potential, column_potential = np.zeros(rows), np.zeros(columns)
    row_of = np.full(columns, -1)
    for start in range(rows):
        distance = np.full(columns, np.inf)
        came_from = np.full(columns, -1)  # the column before, on the shortest path; -1 for the start
        visited = np.zeros(columns, dtype=bool)
        row, column, travelled = start, -1, 0.0
        while True:
            through = travelled + costs[row] - row_potential[row] - column_potential
            nearer = ~visited & (through < distance)
            distance[nearer], came_from[nearer] = through[nearer], column
            column = int(np.where(visited, np.inf, distance).argmin())
            travelled = distance[column]
            visited[column] = True
            if row_of[column] < 0:
                break
            row = row_of[column]
        passed = visited & (row_of >= 0)
        row_potential[start] += travelled
        row_potential[row_of[passed]] += travelled - distance[passed]
        column_potential[visited] -= travelled - distance[visited]
        while column >= 0:  # hand every row on the path its next column
            before = came_from[column]
            row_of[column] = row_of[before] if before >= 0 else start
            column = before
    found = [-1] * rows
    for column, row in enumerate(row_of.tolist()):
        if row >= 0:
            found[row] = column
    return found


def semantic_iou(predictions: Sequence[str], targets: Sequence[str]) -> float:
    """Mean over images of the shared words of name and class, over all words of the two."""
    return float(np.mean(semantic_ious(predictions, targets)))


def semantic_ious(predictions: Sequence[str], targets: Sequence[str]) -> list[float]:
    """Of each image, the shared words of its name and its class over all words of the two; 0 where neither has any.

    Example:
        ```python
        from adaptkit.texts.cased.metrics import semantic_ious

        assert semantic_ious(["retriever"], ["golden retriever"]) == [0.5]
        ```
    """
    _check(predictions, targets)
    found = []
    for prediction, target in zip(predictions, targets, strict=True):
        one, other = _words(prediction), _words(target)
        found.append(len(one & other) / len(one | other) if one | other else 0.0)
    return found


def _words(text: str) -> set[str]:
    """Lower-case words of letters and digits of any script; other characters vanish, and only spaces part words."""
    return {word for word in "".join(char for char in text.lower() if char.isalnum() or char == " ").split(" ") if word}


def text_similarity(predicted: Tensor, wanted: Tensor) -> float:
    """Mean cosine of sentence embeddings (N, D) of names and classes, whatever embedded them.

    The paper embeds with all-MiniLM-L6-v2. With CLIP's own text tower the number is another one, so it goes by another
    name: "similarity (CLIP text)".
    """
    return float(F.cosine_similarity(predicted.double(), wanted.double(), dim=-1).mean())


def _check(predictions: Sequence[str], targets: Sequence[str]) -> None:
    if len(predictions) != len(targets) or not targets:
        raise ValueError(
            f"there are {len(predictions)} predicted names and {len(targets)} class names; expected one of each for "
            "every image, and an image at least"
        )
