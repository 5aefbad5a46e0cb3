"""A threshold for unknown classes: the confidence that tells images of known classes from others, on classes left out.

Classes are left out of the label set in turn, a group at a time, so that their held-out images show none of the
classes that remain. The largest probability among the remaining classes is the confidence that has to tell the two
apart, as in Hendrycks and Gimpel, "A Baseline for Detecting Misclassified and Out-of-Distribution Examples",
arXiv:1610.02136. A threshold is chosen by Youden's J, the share of known images that are accepted less that of unknown
ones, or is the largest that rejects no more than a given share of known images.

A group is left out by its columns of the logits, which is what `set_classes` with the remaining names gives wherever
the logit of a class does not depend on the other classes. What was learnt has seen images of the class, however, so an
unknown class that nobody trained on may be told apart a little worse than is measured here.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

GROUPS = 5  # that classes are left out in; more classes than groups are left out several at a time
LEAST_CLASSES = 3  # so that two remain


@dataclass(frozen=True)
class UnknownThreshold:
    """The least confidence of an answer, and what it does on the classes that were left out."""

    threshold: float
    auroc: float  # Area under the ROC curve of confidence as a detector of known classes, from 0 to 1.
    false_rejections: float  # Share of images of known classes below the threshold.
    caught: float  # Share of images of unknown classes below it.
    rule: str  # The way in which it was chosen, in words.


def left_out_confidences(logits: Tensor, labels: Tensor, temperature: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Confidences of images whose class is known (M,), and of images whose class is left out (N,), over all groups.

    Args:
        logits: (N, C) of held-out images.
        labels: (N,).
        seed: of the groups.

    Raises:
        ValueError: if there are less than three classes.
    """
    n_classes = logits.shape[1]
    if n_classes < LEAST_CLASSES:
        raise ValueError(
            f"{n_classes} classes are too few to leave one out and choose among the rest; a threshold for unknown "
            f"classes needs {LEAST_CLASSES} or more"
        )
    order = torch.randperm(n_classes, generator=torch.Generator().manual_seed(seed))
    known, unknown = [], []
    for group in order.chunk(min(GROUPS, n_classes)):
        remaining = torch.ones(n_classes, dtype=torch.bool)
        remaining[group] = False
        confidence = (logits.double()[:, remaining] / temperature).softmax(dim=1).amax(dim=1)
        is_known = remaining[labels]
        known.append(confidence[is_known])
        unknown.append(confidence[~is_known])
    return torch.cat(known), torch.cat(unknown)


def choose_threshold(known: Tensor, unknown: Tensor, most_false_rejections: float | None = None) -> UnknownThreshold:
    """Choose the threshold by Youden's J, or as the largest that rejects at most a share of the known images.

    Args:
        known: confidences (M,) of images of known classes.
        unknown: confidences (N,) of images of classes that were left out.
        most_false_rejections: that share, from 0 to 1; None for Youden's J.

    Raises:
        ValueError: if there are no images of one kind.
    """
    if not len(known) or not len(unknown):
        raise ValueError(
            f"{len(known)} images of known and {len(unknown)} of left-out classes; a threshold needs some of both"
        )
    known, unknown = known.sort().values, unknown.sort().values
    candidates = known.unique()  # sorted; between two of them the same known images are rejected
    rejected = torch.searchsorted(known, candidates).double() / len(known)  # those below
    caught = torch.searchsorted(unknown, candidates).double() / len(unknown)
    if most_false_rejections is None:
        place, rule = int((caught - rejected).argmax()), "Youden's J"
    else:
        place = int((rejected <= most_false_rejections).nonzero().max())
        rule = f"at most {100 * most_false_rejections:g} % of known images rejected"
    return UnknownThreshold(
        float(candidates[place]), _auroc(known, unknown), float(rejected[place]), float(caught[place]), rule
    )


def _auroc(known: Tensor, unknown: Tensor) -> float:
    """The share of pairs in which the known image is the more confident; equal ones count half."""
    below = torch.searchsorted(unknown, known).double()
    up_to = torch.searchsorted(unknown, known, right=True).double()
    return float((below + up_to).mean() / 2 / len(unknown))
