"""Expected calibration error: how far confidence is from accuracy."""

import itertools

import torch
from torch import Tensor


def expected_calibration_error(p: Tensor, labels: Tensor, bins: int = 15) -> Tensor:
    """Expected calibration error, from 0 to 1, of probabilities (N, C): bins (lower, upper] of the largest.

    Guo et al., "On Calibration of Modern Neural Networks", arXiv:1706.04599, with B_m the images of a bin:
        ECE = sum_m |B_m| / N |acc(B_m) - conf(B_m)|

    Raises:
        ValueError: if a probability is not finite.
    """
    confidence, answers = p.max(dim=-1)
    if not confidence.isfinite().all():
        raise ValueError("a probability is not finite, so its image has no bin; did the training diverge?")
    right = (answers == labels).to(confidence)
    edges = torch.linspace(0, 1, bins + 1, dtype=confidence.dtype, device=confidence.device)
    gaps = []
    for lower, upper in itertools.pairwise(edges):
        inside = (confidence > lower) & (confidence <= upper)
        # The sums' difference over N is the share of the bin times the difference of its means.
        gaps.append((confidence[inside].sum() - right[inside].sum()).abs() / len(labels))
    return torch.stack(gaps).sum()
