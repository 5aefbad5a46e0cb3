"""What a token learner minimises on images without texts.

For unit queries Q (B, D), the teacher's unit image features F (B, D), and a bank of unit teacher features (N, D):
    L_gcd = KL(softmax(F bank^T / tau) || softmax(Q bank^T / tau)) + InfoNCE(Q, F)
    L_lar = 1 - mean_k max_p <n(w_k P), n(V_p)>  +  0.1 mean_{k != l} <alpha_k, alpha_l> / (|alpha_k| |alpha_l|)
    L     = L_gcd + lambda L_lar
Du et al., arXiv:2403.01431, name both parts, global contrastive distillation and local alignment regularisation; their
form is ours.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.layers.contrastive import contrastive_rows

DIVERSITY = 0.1  # weight of the overlap of attention maps


def global_distillation(queries: Tensor, teacher: Tensor, tau: float = 0.07, bank: Tensor | None = None) -> Tensor:
    """L_gcd: queries see the bank as their teacher features do, and find these among those of the batch -> scalar.

    Args:
        queries: (B, D), of any length.
        teacher: image features (B, D) of the same images, of any length.
        tau: temperature of both.
        bank: teacher features (N, D) of any length; None takes those of the batch.
    """
    q, f = F.normalize(queries, dim=-1), F.normalize(teacher, dim=-1)
    known = f if bank is None else F.normalize(bank, dim=-1)
    log_student, log_teacher = ((rows @ known.T / tau).log_softmax(dim=-1) for rows in (q, f))
    relations = F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
    from_queries, from_teacher = contrastive_rows(q, f, 1 / tau, torch.arange(len(q), device=q.device))
    return relations + (from_queries.mean() + from_teacher.mean()) / 2


def local_alignment(words: Tensor, projection: Tensor, patches: Tensor) -> Tensor:
    """1 minus the mean cosine of words and the patch that is nearest to each -> scalar.

    Args:
        words: pseudo words (B, K, D_t).
        projection: P (D_t, D), which learns.
        patches: the teacher's patches in the joint space (B, P, D), of any length.
    """
    cosines = F.normalize(words @ projection, dim=-1) @ F.normalize(patches, dim=-1).transpose(1, 2)  # (B, K, P)
    return 1 - cosines.amax(dim=-1).mean()


def attention_overlap(attention: Tensor) -> Tensor:
    """Mean cosine of two different attention maps (B, K, P) of an image -> scalar; 0 where there is one."""
    count = attention.shape[1]
    if count < 2:
        return attention.new_zeros(())
    unit = F.normalize(attention, dim=-1)
    others = ~torch.eye(count, dtype=torch.bool, device=attention.device)
    return (unit @ unit.transpose(1, 2))[:, others].mean()


def local_regularisation(words: Tensor, projection: Tensor, patches: Tensor, attention: Tensor) -> Tensor:
    """L_lar -> scalar; see `local_alignment` and `attention_overlap` for the arguments."""
    return local_alignment(words, projection, patches) + DIVERSITY * attention_overlap(attention)
