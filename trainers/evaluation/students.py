"""How well a distilled student stands in for its teacher: accuracy over classes, and the spaces of both compared.

Accuracy over classes is that of Li et al., arXiv:2307.03135. The four measures of consistency are ours: the paper asks
that the student's visual space be the teacher's and names no measure.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.evaluation.agreement import pearson, ranks
from trainers.evaluation.scoring import per_class_accuracy

NEIGHBOURS = 10
ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Consistency:
    """A student's space beside its teacher's, on the same images."""

    mean_cosine: float  # of student and teacher feature of an image, -1 to 1
    neighbours: float  # Jaccard index of the 10 nearest other images of both, 0 to 1, mean over images
    class_spearman: float  # rank correlation of both similarities to the class texts, -1 to 1, mean over images
    agreement: float  # percent of images for which both choose the same class


def mean_per_class_accuracy(logits: Tensor, labels: Tensor) -> float:
    """Accuracy in percent of logits (N, C) and labels (N,), as the mean over the classes that have images."""
    hits = (logits.argmax(dim=-1) == labels).cpu().numpy()
    accuracies = per_class_accuracy(hits, labels.cpu().numpy(), logits.shape[1])
    present = [accuracy for accuracy in accuracies if not math.isnan(accuracy)]
    return sum(present) / len(present)


def consistency(student: Tensor, teacher: Tensor, texts: Tensor) -> Consistency:
    """Compare features (N, D) that student and teacher have of the same images.

    Args:
        texts: features of class texts (C, D).

    Raises:
        ValueError: if the shapes differ, or there are not two images and two classes.
    """
    if student.shape != teacher.shape or student.shape[1] != texts.shape[1]:
        raise ValueError(
            f"features of shapes {tuple(student.shape)} and {tuple(teacher.shape)} and texts {tuple(texts.shape)}; "
            "expected (N, D) twice, and (C, D)"
        )
    if min(len(student), len(texts)) < 2:
        raise ValueError(f"{len(student)} images and {len(texts)} classes; expected two or more of both")
    ours, theirs, words = (F.normalize(rows, dim=-1) for rows in (student, teacher, texts))
    our_classes, their_classes = ours @ words.T, theirs @ words.T
    correlations = [
        pearson(ranks(one), ranks(other))
        for one, other in zip(our_classes.double().cpu().numpy(), their_classes.double().cpu().numpy(), strict=True)
    ]
    same = our_classes.argmax(dim=-1) == their_classes.argmax(dim=-1)
    return Consistency(
        mean_cosine=float((ours * theirs).sum(dim=-1).mean()),
        neighbours=_neighbour_overlap(ours, theirs),
        class_spearman=sum(correlations) / len(correlations),
        agreement=100 * float(same.float().mean()),
    )


def _neighbour_overlap(ours: Tensor, theirs: Tensor) -> float:
    """Mean Jaccard index of the nearest other rows of unit rows (N, D)."""
    count = min(NEIGHBOURS, len(ours) - 1)
    total = 0.0
    for start in range(0, len(ours), ROWS_AT_ONCE):
        one, other = (_nearest(rows, start, count) for rows in (ours, theirs))
        common = (one[:, :, None] == other[:, None, :]).sum(dim=(1, 2)).double()
        total += float((common / (2 * count - common)).sum())
    return total / len(ours)


def _nearest(rows: Tensor, start: int, count: int) -> Tensor:
    """Places (n, count) of the rows nearest to each of those from `start` on, not counting itself."""
    some = rows[start : start + ROWS_AT_ONCE]
    near = some @ rows.T
    own = torch.arange(len(some), device=rows.device)
    near[own, own + start] = -torch.inf
    return near.topk(count, dim=-1).indices
