"""Label smoothing: a share of every label is spread over all classes.

Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", arXiv:1512.00567; a share s, C classes:
    q_c = (1 - s) [c = y] + s / C        L = -sum_c q_c log p_c = (1 - s) CE(logits, y) + s mean_c CE(logits, c)
A method is handed q (B, C) where it is handed y (B,) otherwise. torch's cross-entropy takes either, so every loss that
has a cross-entropy of the labels has its smoothed form at that place, and its regularizers stay as they are.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.contract.method import AdaptedCLIP


def smooth(labels: Tensor, n_classes: int, share: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """Labels (B,) int64 -> probabilities of classes (B, C), of which `share` is spread evenly over all.

    Args:
        dtype: of the weights of the backbone; the probabilities are of fp32 or better.
    """
    certain = F.one_hot(labels, n_classes).to(torch.promote_types(dtype, torch.float32))
    return certain * (1 - share) + share / n_classes


def why_not_smoothed(method: AdaptedCLIP) -> str | None:
    """Why a method's loss takes no probabilities of classes; None if it does, and gives the same for certain ones.

    The method is tried on two grey images, which leaves gradients behind, so it is one to throw away.
    """
    name = method.spec.name if method.spec is not None else type(method).__name__
    if not method.learns_from_labels:
        return f"{name} learns without labels, so OPTIM.LABEL_SMOOTHING would change nothing; leave it out"
    n_classes = len(method.classes)
    height, width = method.backbone.preprocess_cfg.image_size
    labels = torch.tensor([0, n_classes - 1], device=method.device)
    method.eval()
    with torch.no_grad():
        x = method.consume(torch.zeros(2, 3, height, width, device=method.device))
    certain = smooth(labels, n_classes, 0.0, method.backbone.dtype)
    expected = method.backward(x, labels)
    reason = (
        f"the loss of {name} takes labels as class numbers only, so they cannot be smoothed; leave "
        "OPTIM.LABEL_SMOOTHING out"
    )
    try:
        found = method.backward(x, certain)
    except (IndexError, RuntimeError, TypeError, ValueError):
        return reason
    return None if torch.allclose(found, expected, rtol=1e-3, atol=1e-5) else reason
