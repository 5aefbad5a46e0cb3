"""Entropies of the answers to views, and the views of which they are least: what test-time methods share."""

import torch
from torch import Tensor


def entropies(logits: Tensor) -> Tensor:
    """Logits (..., C) -> entropy of their softmax in nats, (...); a probability that underflows adds nothing."""
    log_p = logits.log_softmax(dim=-1)
    return -(log_p.exp() * log_p).sum(dim=-1)


def kept_views(logits: Tensor, share: float) -> Tensor:
    """Logits (V, C) of V views -> indices of the int(share V) views of least entropy, at least one, rising."""
    count = max(1, int(len(logits) * share))
    return entropies(logits).argsort(stable=True)[:count]


def entropy_of_mean(logits: Tensor) -> Tensor:
    """Logits (K, C) of K views -> entropy of the mean of their probabilities, a scalar in nats.

    The mean is taken of logarithms by log-sum-exp and held above the least number of its type, as TPT's code does.
    """
    log_p = logits.log_softmax(dim=-1)
    mean = torch.logsumexp(log_p, dim=0) - torch.log(torch.tensor(float(len(logits)), device=logits.device))
    mean = mean.clamp(min=torch.finfo(mean.dtype).min)
    return -(mean.exp() * mean).sum()
