"""Answers of a distilled student for classes that it never saw: by their names, and by a few images of them.

Li et al., arXiv:2307.03135, released code 8715681. With unit rows S (B, D), W (C, D) and unit features `key` that the
teacher has of M views of a class's images:
    zero-shot   S W^T / tau
    retrieval   S W^T + sum_m exp(-5.5 (1 - <S, key_{c,m}>))

which is Tip-Adapter with alpha 1 and beta 5.5 and without a temperature.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.weights.ood_distill.losses import check_width, cosines

BETA = 5.5
SHOTS = 5  # images of a class
VIEWS_PER_SHOT = 10  # the first is the image as it is, the others are random crops


def zero_shot_logits(student: Tensor, texts: Tensor, tau: float = 0.07) -> Tensor:
    """Logits (B, C) of features (B, D) among classes whose texts have the features (C, D), both of any length."""
    check_width(student, texts)
    return cosines(student, texts) / tau


def retrieval_logits(student: Tensor, texts: Tensor, keys: Tensor, beta: float = BETA) -> Tensor:
    """Logits (B, C) by class texts and by the teacher's features of a few images of every class.

    Args:
        student: (B, D) of any length.
        texts: (C, D) of any length.
        keys: (C, M, D), unit rows.

    Raises:
        ValueError: if keys and texts are not of the same classes and width.
    """
    check_width(student, texts)
    if keys.ndim != 3 or (keys.shape[0], keys.shape[2]) != tuple(texts.shape):
        raise ValueError(
            f"keys have shape {tuple(keys.shape)}; expected ({texts.shape[0]}, M, {texts.shape[1]}), M of each class"
        )
    unit = F.normalize(student, dim=-1)
    affinity = torch.einsum("bd,cmd->bcm", unit, keys)
    return cosines(student, texts) + torch.exp(-beta * (1 - affinity)).sum(dim=-1)
