"""The equations of debiasing with an image-absent prior: as released for language models, and ours for CLIP.

Zhang et al., "Debiasing Large Visual Language Models", arXiv:2403.05262. With the answers p (C) to an image, over their
sum, and the prior p_cf (C), which is the answers to an input without an image:
    q = W p + b, over its sum;    diagonal_W: W = diag(p_cf)^-1, b = 0;    identity_W: W = I, b = -p_cf
    p_cf of the same question ("individual"): the sum of its sources over its sum, then + 1e-4
    p_cf of a data set ("all"): the mean of those sums over its sum
and for logits l, with the mean l_cf of the sources' logits, where l < ln(beta) + max l is left out:
    (1 + alpha) l - alpha l_cf
`calibrated`, `answer_prior`, `contrasted` and `ece_as_released` compute this as the released code does. For CLIP, whose
classes c have logits l_c, and inputs v in V0 that show nothing:
    p0 = mean_v softmax(s l(v)), s the scale of the prior
    diag:      l'_c = l_c - lambda log(p0_c + 1e-4)
    identity:  q_c = max(p_c - lambda p0_c, 0) + 1e-6 over its sum,  l' = log q
    contrast:  as above, with the mean of l(v) as l_cf

Departure: released identity_W divides by sum(q), which is negative (-1e-4 C) or zero up to rounding, so its best answer
    is the one that loses most against the prior; `calibrated` keeps that, and "identity" is clamped at 0 first.
Departure: the prior's softmax is four times softer where it would put more than 0.9 on one class, because one over an
    almost one-hot prior is mostly the added 1e-4.
Departure: classes that contrast leaves out lie 1000 logits lower instead of at minus infinity, so that answers stay
    finite and keep their order; their probability is 0 all the same.

Letters: N answers or B images, C classes, K inputs without an image.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from adaptkit.calibration.calibration_error import expected_calibration_error
from adaptkit.layers.full_precision import at_least_fp32

Mode = Literal["diagonal_W", "identity_W"]  # of the released calibration
Scope = Literal["individual", "all"]
Correction = Literal["diag", "identity", "contrast"]

ADDED_TO_PRIOR = 1e-4  # as released, behind the prior's normalisation
ADDED_TO_CLAMPED = 1e-6
NEARLY_ONE_HOT, SOFTER = 0.9, 0.25  # a prior with a larger entry is made softer by this scale
LEFT_OUT = 1000.0  # logits by which classes that contrast leaves out lie lower


def normalised(p: Tensor) -> Tensor:
    """Answers (..., C) over their sum."""
    return p / p.sum(dim=-1, keepdim=True)


def answer_prior(sources: Sequence[Tensor], scope: Scope) -> Tensor:
    """The released prior p_cf, in float64, from raw answers (N, C) to each kind of input without an image.

    Args:
        sources: one tensor (N, C) for each kind, such as no image and unknown tokens; they are summed.
        scope: "individual" gives a prior of each question (N, C), "all" one of the data set (C,).
    """
    total = torch.stack(list(sources)).double().sum(dim=0)
    if scope == "all":
        return normalised(total.mean(dim=0))
    return normalised(total) + ADDED_TO_PRIOR


def calibrated(p: Tensor, prior: Tensor, mode: Mode) -> Tensor:
    """The released q (N, C) from raw answers p (N, C) and a prior (N, C) or (C,); identity_W has the released flaw.

    It is computed in float64 as released, because the sum by which identity_W divides is all but cancelled.
    """
    answers = normalised(p.double())
    return normalised(answers / prior if mode == "diagonal_W" else answers - prior).to(p)


def contrasted(logits: Tensor, absent: Sequence[Tensor], alpha: float, beta: float) -> Tensor:
    """The released contrast of logits (..., C): -inf where they are below ln(beta) + their maximum.

    Args:
        absent: logits (..., C) without an image, one tensor for each kind of input; their mean counts.
        beta: 0 leaves no class out.
    """
    left_out = _below_the_best(logits, beta)
    mean = torch.stack(list(absent)).mean(dim=0)
    return ((1 + alpha) * logits - alpha * mean).masked_fill(left_out, -torch.inf)


def _below_the_best(logits: Tensor, beta: float) -> Tensor:
    """Where logits (..., C) are below ln(beta) + their maximum."""
    floor = math.log(beta) if beta else -math.inf
    return logits < floor + logits.amax(dim=-1, keepdim=True)


def prior_of(absent: Tensor, scale: float | None = None) -> Tensor:
    """The prior p0 (C,) of logits (K, C) of inputs without an image: the mean of their softmax.

    Args:
        scale: multiplies the logits; None is 1, or 0.25 where the prior would have an entry above 0.9.
    """
    absent = at_least_fp32(absent)
    p0 = ((1.0 if scale is None else scale) * absent).softmax(dim=-1).mean(dim=0)
    if scale is not None:
        return p0
    softer = (SOFTER * absent).softmax(dim=-1).mean(dim=0)
    return torch.where(p0.max() > NEARLY_ONE_HOT, softer, p0)


def diag(logits: Tensor, prior: Tensor, strength: float | Tensor = 1.0) -> Tensor:
    """Logits (B, C) less the log of the prior (C,), which divides probabilities by its power."""
    return logits - strength * (prior + ADDED_TO_PRIOR).log().to(logits)


def identity(p: Tensor, prior: Tensor, strength: float | Tensor = 1.0) -> Tensor:
    """Probabilities q (B, C) from p (B, C) less the prior (C,), clamped at 0 before they are normalised."""
    return normalised((p - strength * prior).clamp(min=0) + ADDED_TO_CLAMPED)


def contrast(logits: Tensor, absent: Tensor, alpha: float | Tensor = 0.5, beta: float = 0.1) -> Tensor:
    """Logits (B, C) away from those of inputs without an image (K, C), finite also for classes left out."""
    stretched = (1 + alpha) * logits - alpha * absent.mean(dim=0)
    return torch.where(_below_the_best(logits, beta), stretched - LEFT_OUT, stretched)


def corrected(
    logits: Tensor,
    absent: Tensor,
    correction: Correction = "diag",
    strength: float | Tensor = 1.0,
    *,
    scale: float | None = None,
    beta: float = 0.1,
) -> Tensor:
    """Logits (B, C) corrected for logits (K, C) of inputs without an image.

    Args:
        strength: lambda of diag and identity, alpha of contrast; 0 is for the caller, who leaves the logits alone.
        scale: of the prior, see `prior_of`.
        beta: of contrast.
    """
    if correction == "contrast":
        return contrast(logits, absent, strength, beta)
    prior = prior_of(absent, scale)
    if correction == "diag":
        return diag(logits, prior, strength)
    return identity(at_least_fp32(logits).softmax(dim=-1), prior, strength).log().to(logits)


def distance_from_uniform(logits: Tensor) -> Tensor:
    """KL divergence, in nats, of the mean answer to logits (N, C) from equally many answers of each class."""
    mean = at_least_fp32(logits).softmax(dim=-1).mean(dim=0)
    return math.log(len(mean)) - torch.special.entr(mean).sum()


def ece_as_released(p: Tensor, labels: Tensor, bins: int = 10) -> Tensor:
    """The released calibration error, which takes another softmax of what are probabilities (N, C) already."""
    return expected_calibration_error(p.softmax(dim=-1), labels, bins)
