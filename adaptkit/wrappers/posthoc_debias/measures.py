"""What a correction changes: accuracy, recalls, calibration, and how evenly the answers are spread over the classes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from adaptkit.calibration.calibration_error import expected_calibration_error


@dataclass(frozen=True)
class Measures:
    """Facts of a classifier's answers to labelled images."""

    accuracy: float  # In percent, as the next three.
    macro_recall: float  # Mean over the classes that have images.
    worst_recall: float  # Of the class that is recognised worst.
    ece: float  # Expected calibration error in 15 bins.
    entropy: float  # Of the histogram of answers, in nats; log C where every class is answered equally often.


@torch.no_grad()
def measure(logits: Tensor, labels: Tensor) -> Measures:
    """The facts of logits (N, C) for labels (N,)."""
    n_classes, answers = logits.shape[1], logits.argmax(dim=-1)
    images = torch.bincount(labels, minlength=n_classes)
    right = torch.bincount(labels[answers == labels], minlength=n_classes)
    recalls = 100 * right[images > 0] / images[images > 0]
    histogram = torch.bincount(answers, minlength=n_classes) / len(answers)
    return Measures(
        accuracy=100 * float((answers == labels).float().mean()),
        macro_recall=float(recalls.mean()),
        worst_recall=float(recalls.min()),
        ece=100 * float(expected_calibration_error(logits.float().softmax(dim=-1), labels)),
        entropy=float(torch.special.entr(histogram).sum()),
    )
