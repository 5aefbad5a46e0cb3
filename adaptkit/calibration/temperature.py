"""Temperature scaling: one number that makes probabilities as high as they are right.

Guo et al., "On Calibration of Modern Neural Networks", arXiv:1706.04599:

    q = max softmax(z / T),    T = argmin NLL(softmax(z / T), y)  over held-out logits z with labels y

The negative log-likelihood is convex in 1 / T, so its derivative, the mean over images of E_p[z] - z_y, has one change
of sign, which bisection finds. T > 0 never changes the order of the classes.

Departure: where no class of a held-out image is above the right one, the likelihood does not fall as T falls, and
certainty would follow from a few images. There the right class gets N + 1 of N + 2 parts and all classes together the
rest, as Platt (1999) smooths the targets of his sigmoid. Logits that are equal in every image say nothing of T, and it
is 1.
"""

import math

import torch
from torch import Tensor

LOWEST, HIGHEST = 1e-4, 1e4  # of a temperature; at the highest, probabilities of any logits are nearly equal
BISECTIONS = 40


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature T that fits held-out logits (N, C) with labels (N,) best, from 1e-4 to 1e4.

    Raises:
        ValueError: if there is no image, a logit is not finite, or a label is no column of the logits.
    """
    logits = checked_logits(logits, labels)
    most, least = logits.amax(dim=1), logits.amin(dim=1)
    if bool((most == least).all()):
        return 1.0
    own = logits.gather(1, labels[:, None]).squeeze(1)
    if bool((own == most).all()):
        smoothing = 1 / (len(labels) + 2)
        own = (1 - smoothing) * own + smoothing * logits.mean(dim=1)
    wanted = own.mean()
    low, high = math.log(LOWEST), math.log(HIGHEST)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        expected = ((logits / math.exp(middle)).softmax(dim=1) * logits).sum(dim=1).mean()
        low, high = (middle, high) if expected > wanted else (low, middle)  # too sharp where E_p[z] exceeds z_y
    return math.exp((low + high) / 2)


def checked_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """Logits (N, C) in double precision, if they can be calibrated by labels (N,).

    Raises:
        ValueError: if there is no image, a logit is not finite, or a label is no column of the logits.
    """
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(f"labels are {labels.dtype}; expected whole numbers, the places of the classes")
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise ValueError(
            f"logits have shape {tuple(logits.shape)} and labels {tuple(labels.shape)}; expected (N, C) and (N,) with "
            "at least one image"
        )
    if not 0 <= int(labels.min()) <= int(labels.max()) < logits.shape[1]:
        raise ValueError(
            f"labels reach from {int(labels.min())} to {int(labels.max())}; logits have {logits.shape[1]} classes"
        )
    if not bool(logits.isfinite().all()):
        raise ValueError("a logit is not finite, so there is nothing to calibrate; did the training diverge?")
    return logits.double()
