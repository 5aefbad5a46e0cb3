"""Labels and answers -> metrics per class and over classes: pure functions of arrays, without torch.

They are defined as scikit-learn defines them, with 0 where a division by 0 stands, and the tests compare with it. They
are counts and a few divisions, so that nothing has to be installed for them.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from trainers.evaluation.scoring import Floats, Ints, Score, score

MOST_PAIRS = 2_000_000  # pairs of image and class that the offset is fitted on


@dataclass(frozen=True)
class ClassResult:
    """One class: its place among the candidates, its name, and what the images say of it; rates in percent."""

    index: int
    name: str
    images: int  # images of this class
    correct: int
    answered: int  # images for which this class was the answer, rightly or not

    @property
    def recall(self) -> float | None:
        """Share of its images that were recognised, which is its accuracy; None without images."""
        return 100 * self.correct / self.images if self.images else None

    @property
    def precision(self) -> float | None:
        """Share of its answers that were right; None where it was never the answer."""
        return 100 * self.correct / self.answered if self.answered else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; None where it has no images and was never the answer."""
        both = self.images + self.answered
        return 200 * self.correct / both if both else None


@dataclass(frozen=True)
class Judgement:
    """Answers of one model to N images among K candidates, and all that follows from them."""

    classnames: tuple[str, ...]  # K; two may be equal
    labels: Ints  # (N,) places of the right classes among the candidates
    answers: Ints  # (N,) places of the most probable classes; the first in a tie
    ranks: Ints  # (N,) classes that were ranked before the right one
    score: Score
    offset: float  # for independent scores: `fitted_offset`

    @property
    def correct(self) -> int:
        """Images whose most probable class is the right one."""
        return self.score.correct

    @cached_property
    def classes(self) -> tuple[ClassResult, ...]:
        """The results of every candidate, K of them."""
        count = len(self.classnames)
        images, answered = (np.bincount(places, minlength=count).tolist() for places in (self.labels, self.answers))
        correct = np.bincount(self.labels[self.labels == self.answers], minlength=count).tolist()
        rows = zip(self.classnames, images, correct, answered, strict=True)
        return tuple(ClassResult(index, *row) for index, row in enumerate(rows))

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall of the classes that have images, in percent."""
        recalls = [one.recall for one in self.classes if one.recall is not None]
        return sum(recalls) / len(recalls)

    @property
    def macro(self) -> dict[str, float]:
        """Means of precision, recall and F1 over the classes that have images or were an answer, in percent."""
        seen = [one for one in self.classes if one.f1 is not None]
        return {
            "precision": sum(one.precision or 0.0 for one in seen) / len(seen),
            "recall": sum(one.recall or 0.0 for one in seen) / len(seen),
            "f1": sum(one.f1 or 0.0 for one in seen) / len(seen),
        }

    @property
    def majority(self) -> ClassResult:
        """The class with the most images, the first of equals: the answer of the majority-class baseline."""
        return max(self.classes, key=lambda one: one.images)

    @property
    def majority_accuracy(self) -> float:
        """Accuracy of always answering the class with the most images, in percent."""
        return 100 * self.majority.images / len(self.labels)

    def topk_accuracy(self, k: int) -> float:
        """Share of images whose right class is among the k most probable, in percent."""
        return float(100 * (self.ranks < k).mean())

    def confusions(self) -> list[tuple[int, int, int]]:
        """(right class, answered class, images) of all wrong answers, the most frequent first."""
        wrong = self.labels != self.answers
        pairs = Counter(zip(self.labels[wrong].tolist(), self.answers[wrong].tolist(), strict=True))
        ordered = sorted(pairs.items(), key=lambda entry: (-entry[1], entry[0]))
        return [(right, answered, images) for (right, answered), images in ordered]


def judge(logits: Floats, labels: Ints, classnames: Sequence[str]) -> Judgement:
    """Judge logits (N, K) by labels (N,), which are places among K candidates.

    Raises:
        ValueError: if there are not as many names as columns, a label is no column, or a logit is not finite.
    """
    if len(classnames) != logits.shape[1]:
        raise ValueError(f"{len(classnames)} class names for logits of {logits.shape[1]} classes; give one each")
    scored = score(logits, labels)
    own = logits[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(logits.shape[1]) < labels[:, None]
    ranks = ((logits > own) | ((logits == own) & earlier)).sum(axis=1)
    return Judgement(tuple(classnames), labels, logits.argmax(axis=1), ranks, scored, fitted_offset(logits))


def fitted_offset(logits: Floats) -> float:
    """The offset b with which sigmoid(logit - b) fits images of one class each best, as N numbers of binary tasks.

    The binary cross-entropy over all N * K pairs of image and class has its minimum over b where as many positives are
    expected as there are: sum sigmoid(logits - b) = N. The sum falls with b, so bisection finds it. With one class
    every pair is a positive, and there is no such b: not a number. Of many pairs, every n-th image is taken.
    """
    if logits.shape[1] < 2:
        return float("nan")
    logits = logits[:: -(-logits.size // MOST_PAIRS)]
    low, high = float(logits.min()) - 40.0, float(logits.max()) + 40.0
    for _ in range(60):
        middle = (low + high) / 2
        expected = (0.5 * (1 + np.tanh((logits - middle) / 2))).sum()  # a sigmoid that cannot overflow
        low, high = (middle, high) if expected > len(logits) else (low, middle)
    return (low + high) / 2
