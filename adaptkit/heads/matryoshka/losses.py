"""The losses of nested representations, as their papers' released codes have them: pure functions of tensors.

Kusupati et al., "Matryoshka Representation Learning", arXiv:2205.13147 (MRL, RAIVNLab/MRL 7ccb42d). For sizes m:
    logits_m = z[:m] A_m^T + b_m    (MRL);    logits_m = z[:m] A[:, :m]^T + b    (MRL-E)
    L = sum_m c_m CE(logits_m, y)
Li et al., "2D Matryoshka Sentence Embeddings", arXiv:2402.14776 (2DMSE and, later, ESE; SeanLee97/AnglE). For the state
h_n of the last layer, h_l of a drawn layer l < n, a drawn size m, a base loss L0 and a temperature T:
    L = L0(h_n) + c L0(h_l) + f KL(softmax(h_n / T) || softmax(h_l / T)) + L0(h_n[:m]) + c L0(h_l[:m])
    formula   a9d33eb: c = 1, f = T^2      347bbb6: c = 1/l, f = T ln(2 + l)      4e57965: c = 1/l, f = T
The losses of sentence-transformers (85ec645) for the same ideas: MatryoshkaLoss, AdaptiveLayerLoss, and both as one.

Like the released codes, no KL stops the gradient of its target h_n. Layer 1 is the state after the first block.
Departure: ESE's target of compression is made with an exact SVD and fixed signs; the released one is randomised.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Formula = Literal["347bbb6", "a9d33eb", "4e57965"]
PairLoss = Callable[[Tensor, Tensor], Tensor]  # anchors (B, D) and positives (B, D), not normalised -> scalar
StateLoss = Callable[[Tensor], Tensor]  # states (N, D), not normalised -> scalar


def prefix(z: Tensor, size: int) -> Tensor:
    """The first coordinates, then brought to unit length: (..., D) -> (..., size)."""
    return F.normalize(z[..., :size], dim=-1)


# MRL


def mrl_logits(z: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None]) -> list[Tensor]:
    """Logits (B, C) of every size, from a linear layer (C, m) of each."""
    return [F.linear(z[..., : weight.shape[1]], weight, bias) for weight, bias in zip(weights, biases, strict=True)]


def mrl_e_logits(z: Tensor, weight: Tensor, bias: Tensor | None, sizes: Sequence[int]) -> list[Tensor]:
    """Logits (B, C) of every size, from the first columns of one linear layer (C, D)."""
    return [F.linear(z[..., :size], weight[:, :size], bias) for size in sizes]


def mrl_loss(
    logits: Sequence[Tensor], labels: Tensor, weights: Sequence[float] | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """sum_m c_m CE(logits_m, y); every c is 1 without `weights`."""
    losses = [F.cross_entropy(own, labels, label_smoothing=label_smoothing) for own in logits]
    return weighted_sum(losses, weights)


def weighted_sum(losses: Sequence[Tensor], weights: Sequence[float] | None = None) -> Tensor:
    """sum_m c_m L_m; every c is 1 without `weights`."""
    return sum(
        (c * loss for c, loss in zip(weights or [1.0] * len(losses), losses, strict=True)), losses[0].new_zeros(())
    )


# Base losses


def contrast(anchors: Tensor, positives: Tensor, scale: float | Tensor, symmetric: bool) -> Tensor:
    """Cross-entropy of scaled cosines in a batch, anchor to positive; the mean of both directions if symmetric."""
    logits = scale * F.normalize(anchors, dim=-1) @ F.normalize(positives, dim=-1).T  # (B, B)
    own = torch.arange(len(logits), device=logits.device)
    forward = F.cross_entropy(logits, own)
    return (forward + F.cross_entropy(logits.T, own)) / 2 if symmetric else forward


def interleaved_contrast(states: Tensor, scale: float = 20.0) -> Tensor:
    """AnglE's in-batch loss of states whose rows are text, positive, text, positive, ...: text to positive only."""
    return contrast(states[0::2], states[1::2], scale, symmetric=False)


def kl(target: Tensor, states: Tensor, temperature: float) -> Tensor:
    """KL(softmax(target / T) || softmax(states / T)) over the last dimension, the mean over the first."""
    log_p, log_q = ((x / temperature).log_softmax(dim=-1) for x in (target, states))
    return F.kl_div(log_q, log_p, log_target=True, reduction="batchmean")


# 2DMSE and ESE


def formula_factors(formula: Formula, layer: int, temperature: float) -> tuple[float, float]:
    """The weight c of a drawn layer's base losses, and the factor f of its KL."""
    if formula == "a9d33eb":
        return 1.0, temperature**2
    if formula == "347bbb6":
        return 1 / layer, temperature * math.log(2 + layer)
    return 1 / layer, temperature


def two_d_loss(
    last: Tensor,
    drawn: Tensor,
    layer: int,
    size: int,
    base: StateLoss = interleaved_contrast,
    formula: Formula = "347bbb6",
    temperature: float = 1.0,
    teacher: Tensor | None = None,
    lambdas: tuple[float, float] = (1.0, 1.0),
) -> Tensor:
    """2DMSE of the states (N, L, D) of the last and of a drawn layer; the first token's state is the embedding.

    Args:
        layer: the drawn layer, counted from 1.
        teacher: a fixed teacher's states (N, L, D). The first token's takes the place of h_n as the target of the KL,
            and KL(softmax(teacher) || softmax(last)) over all tokens at temperature 1 is added.
        lambdas: weights of the base losses of the last layer and of the drawn one, in the formula a9d33eb only; if the
            second is 0, there is no KL with the drawn layer either.

    Raises:
        ValueError: if another formula is given such weights.
    """
    if lambdas != (1.0, 1.0) and formula != "a9d33eb":
        raise ValueError(f'lambdas={lambdas} belong to the formula "a9d33eb", and formula="{formula}"; leave them out')
    h_n, h_l = last[:, 0], drawn[:, 0]
    c, f = formula_factors(formula, layer, temperature)
    of_last, of_drawn = lambdas[0], lambdas[1] * c
    loss = of_last * (base(h_n) + base(h_n[:, :size])) + of_drawn * (base(h_l) + base(h_l[:, :size]))
    if lambdas[1]:
        loss = loss + f * kl(h_n if teacher is None else teacher[:, 0], h_l, temperature)
    return loss if teacher is None else loss + kl(teacher, last, 1.0)


def pca_target(z: Tensor, size: int) -> Tensor:
    """ESE's target (N, size): z (N, D) times the strongest singular directions of softmax(z^T z / sqrt(D)), scaled."""
    with torch.no_grad():
        u, s, _ = torch.linalg.svd((z.T @ z / math.sqrt(z.shape[1])).softmax(dim=-1))
        return z @ (fixed_signs(u)[:, :size] * s[:size])


def fixed_signs(columns: Tensor) -> Tensor:
    """Columns (D, K) whose largest entries are positive."""
    largest = columns.abs().argmax(dim=0)
    return columns * columns.gather(0, largest[None]).sign()


def compress_loss(z: Tensor, target: Tensor, temperature: float = 1.0) -> Tensor:
    """ESE's MSE(z[:k], target) + T KL(softmax(target / T) || softmax(z[:k] / T)) of z (N, D) and a target (N, k)."""
    cut = z[:, : target.shape[1]]
    return F.mse_loss(cut, target) + temperature * kl(target, cut, temperature)


def ese_loss(
    states: Sequence[Tensor],
    size: int = 128,
    base: StateLoss = interleaved_contrast,
    temperature: float = 1.0,
    targets: Sequence[Tensor | None] | None = None,
) -> Tensor:
    """ESE of the states (N, D) of the embedding, number 0, and of the layers 1 to n; layer n - 1 has no loss.

    L = L0(h_n) + L0(h_n[:k]) + C(h_n) + the mean over i = 0 .. n - 2 of (L0(h_i[:k]) + C(h_i)) / (1 + ln(1 + i))

    Args:
        targets: of compression, (N, k) each, by layer; None makes them by `pca_target`.
    """
    n = len(states) - 1

    def cut_loss(layer: int) -> Tensor:
        target = None if targets is None else targets[layer]
        target = pca_target(states[layer], size) if target is None else target
        return base(states[layer][:, :size]) + compress_loss(states[layer], target, temperature)

    inner = [cut_loss(layer) / (1 + math.log(1 + layer)) for layer in range(n - 1)]
    return base(states[n]) + cut_loss(n) + weighted_sum(inner) / max(1, n - 1)


# sentence-transformers


def matryoshka_loss(
    anchors: Tensor,
    positives: Tensor,
    sizes: Sequence[int],
    base: PairLoss,
    weights: Sequence[float] | None = None,
    drawn: Sequence[int] | None = None,
) -> Tensor:
    """MatryoshkaLoss: sum_m c_m base(n(anchors[:m]), n(positives[:m])).

    Args:
        weights: c, in the order of `sizes`.
        drawn: numbers of the sizes that count in this step, in descending order of size; None takes all.
    """
    order = sorted(range(len(sizes)), key=lambda place: -sizes[place])
    chosen = order if drawn is None else [order[number] for number in drawn]
    losses = [base(prefix(anchors, sizes[place]), prefix(positives, sizes[place])) for place in chosen]
    return weighted_sum(losses, None if weights is None else [weights[place] for place in chosen])


def adaptive_layer_loss(
    anchors: Sequence[Tensor],
    positives: Sequence[Tensor],
    base: PairLoss,
    drawn: Sequence[int] | None = None,
    *,
    last_weight: float = 1.0,
    prior_weight: float = 1.0,
    kl_weight: float = 1.0,
    kl_temperature: float = 0.3,
) -> Tensor:
    """AdaptiveLayerLoss of the embeddings (B, D) of every layer; with a base that cuts sizes it is Matryoshka2dLoss.

    L = w base(last) + sum over i of (w' base(h_i) / (1 + i) / n + T w'' KL(softmax(last / T) || softmax(h_i / T)))
    with n drawn layers i. The KL is the mean over anchors and positives.

    Args:
        base: called first for the last layer, then once for each drawn layer.
        drawn: layers before the last, of which 0 is the first; None takes all.
    """
    chosen = range(len(anchors) - 1) if drawn is None else drawn
    loss = last_weight * base(anchors[-1], positives[-1])
    target = torch.cat([anchors[-1], positives[-1]])
    for number in chosen:
        loss = loss + prior_weight * base(anchors[number], positives[number]) / (1 + number) / len(chosen)
        if kl_temperature > 0 and kl_weight:
            states = torch.cat([anchors[number], positives[number]])
            loss = loss + kl_temperature * kl_weight * kl(target, states, kl_temperature)
    return loss
