"""Expected calibration error: how far confidence is from accuracy."""

import itertools

import torch
from torch import Tensor


def expected_calibration_error(p: Tensor, labels: Tensor, bins: int = 15) -> Tensor:
    """Expected calibration error, from 0 to 1, of probabilities (N, C): bins (lower, upper] of the largest."""
    confidence, answers = p.max(dim=-1)
    right = (answers == labels).to(confidence)
    edges = torch.linspace(0, 1, bins + 1, dtype=confidence.dtype, device=confidence.device)
    gaps = []
    for lower, upper in itertools.pairwise(edges):
        inside = (confidence > lower) & (confidence <= upper)
        # The sums' difference over N is the share of the bin times the difference of its means.
        gaps.append((confidence[inside].sum() - right[inside].sum()).abs() / len(labels))
    return torch.stack(gaps).sum()
