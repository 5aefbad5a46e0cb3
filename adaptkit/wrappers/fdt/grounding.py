"""Grounding: activations of a codebook by the queries of an image's patches, or of a text's words.

Chen et al., "Revisiting Multimodal Representation in Contrastive Learning: From Patch and Token Embeddings to Finite
Discrete Tokens", arXiv:2303.14865. For queries q_m (d) and codes C_j (d):
    s_mj = q_m . C_j / sqrt(d),   z_j = max_m s_mj / T,   a = sparsemax(z),   F = sum_j a_j C_j
Other activations are softmax and sigmoid (then F is divided by sum_j a_j), other pools the mean and the sum.

Letters: B images or texts, M their tokens, N codes, d the width of codes.
"""

from typing import Literal

import torch
from torch import Tensor

from adaptkit.wrappers.fdt.sparsemax import sparsemax

Attention = Literal["sparsemax", "softmax", "sigmoid"]
Pooling = Literal["max", "mean", "sum"]

LARGEST_SCALE = 100.0  # Largest factor of the cosines.
NORM_EPS = 1e-10  # Added to norms, as in the released code.


def token_scores(queries: Tensor, codebook: Tensor) -> Tensor:
    """Scores of queries (..., M, d) on codes (N, d): (..., M, N)."""
    return (queries / codebook.shape[-1] ** 0.5) @ codebook.T


def pool(scores: Tensor, pooling: Pooling, mask: Tensor | None = None) -> Tensor:
    """Pool token scores (B, M, N) -> (B, N).

    Args:
        mask: (B, M) bool, True for a real token; the others take no part at all. None means that all are real.
    """
    if pooling == "max":
        return (scores if mask is None else scores.masked_fill(~mask[..., None], -torch.inf)).max(dim=-2).values
    total = (scores if mask is None else scores.masked_fill(~mask[..., None], 0.0)).sum(dim=-2)
    if pooling == "sum":
        return total
    return total / (scores.shape[-2] if mask is None else mask.sum(dim=-1, keepdim=True))


def activate(z: Tensor, attention: Attention) -> Tensor:
    """Activations (B, N) from pooled scores over T (B, N)."""
    if attention == "sparsemax":
        return sparsemax(z)
    return z.softmax(dim=-1) if attention == "softmax" else z.sigmoid()


def combine(activations: Tensor, codebook: Tensor, attention: Attention) -> Tensor:
    """Weighted sum F (B, d), not normalised, of codes (N, d) by activations (B, N)."""
    features = activations @ codebook
    return features / activations.sum(dim=-1, keepdim=True) if attention == "sigmoid" else features


def unit(x: Tensor) -> Tensor:
    """Rows of unit length: x (..., d) / (|x| + 1e-10)."""
    return x / (x.norm(dim=-1, keepdim=True) + NORM_EPS)


def capped_exp(logit_scale: Tensor) -> Tensor:
    """exp of a log scale, at most 100; the limit does not cut the gradient."""
    scale = logit_scale.exp()
    return scale - (scale - LARGEST_SCALE).clamp(min=0).detach()
