"""A linear probe blended with the text classifier by a learnt factor for every class, with computed step sizes.

Huang, Shakeri et al., "LP++: A Surprisingly Strong Linear Probe for Few-Shot CLIP", arXiv:2404.02285. For unit features
f (N, D) and unit class weights t (C, D):
    logits_c = w_c . f + b_c + alpha_c (f . t_c),    minimise the mean cross-entropy over W, b and alpha
    step of W and b: 4 N / lambda_max(F^T F), with momentum 0.9;  step of alpha: N / (4 max_c sum_i (f_i . t_c)^2)
Every iteration takes all features at once and steps W and b; every tenth steps alpha as well.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

AlphaGrad = Literal["window", "accumulate"]

MOMENTUM = 0.9
ALPHA_EVERY = 10
ALPHA_START = 250.0


@dataclass(frozen=True)
class BlendedProbe:
    """W (C, D), b (C,) and alpha (C,)."""

    weight: Tensor
    bias: Tensor
    alpha: Tensor

    def logits(self, features: Tensor, text_weights: Tensor) -> Tensor:
        """Unit features (B, D) and unit class weights (C, D) -> logits (B, C)."""
        return features @ self.weight.T + self.bias + self.alpha * (features @ text_weights.T)


@dataclass(frozen=True)
class Iterate:
    """The probe after one iteration.

    Args:
        iteration: counted from 0.
        loss: mean cross-entropy before the step.
        alpha_gradient: gradients of alpha (C,) summed up to this iteration, from the last time they were set to zero.
    """

    probe: BlendedProbe
    iteration: int
    loss: Tensor
    alpha_gradient: Tensor


def step_sizes(features: Tensor, text_weights: Tensor) -> tuple[float, float]:
    """Steps of W and b, and of alpha, from unit features (N, D) and class weights (C, D); 0 where all are zeros."""
    count, x = len(features), features.double()
    gram = x.T @ x if count > x.shape[1] else x @ x.T  # both have the same largest eigenvalue
    largest = float(torch.linalg.eigvalsh(gram)[-1])
    cosines = float((x @ text_weights.double().T).square().sum(dim=0).max())
    return 4 * count / largest if largest > 0 else 0.0, count / (4 * cosines) if cosines > 0 else 0.0


def start_of_probe(features: Tensor, labels: Tensor, text_weights: Tensor, bias: Tensor) -> BlendedProbe:
    """The probe before the first iteration: sums of features, and 250 times the mean cosine with the own text.

    Args:
        features: unit features (N, D).
        labels: (N,) int64.
        text_weights: unit class weights (C, D).
        bias: what b starts from (C,), random in the released code.
    """
    n_classes = len(text_weights)
    weight = torch.zeros_like(text_weights).index_add(0, labels, features)
    own = (features * text_weights[labels]).sum(dim=-1)  # (N,), cosine of every feature with its own class
    counts = torch.bincount(labels, minlength=n_classes)
    means = torch.zeros_like(bias).index_add(0, labels, own) / counts.clamp(min=1)
    mean = means.sum() / (counts > 0).sum().clamp(min=1)  # over classes that have features
    return BlendedProbe(weight, bias, (ALPHA_START * mean).expand(n_classes))


@torch.no_grad()
def iterates(
    start: BlendedProbe,
    features: Tensor,
    labels: Tensor,
    text_weights: Tensor,
    iterations: int = 300,
    alpha_grad: AlphaGrad = "window",
) -> Iterator[Iterate]:
    """The probe after every iteration on unit features (N, D) with labels (N,).

    Args:
        start: the probe before the first.
        text_weights: unit class weights (C, D).
        alpha_grad: alpha steps along the sum of its gradients since its last step ("window"), or since the beginning,
            because nothing sets them to zero ("accumulate", the released code).
    """
    weight_step, alpha_step = step_sizes(features, text_weights)
    weight, bias, alpha = start.weight, start.bias, start.alpha
    weight_speed, bias_speed = torch.zeros_like(weight), torch.zeros_like(bias)
    alpha_gradient, cosines = torch.zeros_like(bias), features @ text_weights.T  # (N, C)
    targets = F.one_hot(labels, len(text_weights)).to(features)
    for iteration in range(iterations):
        logits = features @ weight.T + bias + alpha * cosines
        loss = F.cross_entropy(logits, labels)
        error = (logits.softmax(dim=-1) - targets) / len(features)  # (N, C), gradient of the loss by the logits
        weight_speed = MOMENTUM * weight_speed + error.T @ features
        bias_speed = MOMENTUM * bias_speed + error.sum(dim=0)
        alpha_gradient = alpha_gradient + (error * cosines).sum(dim=0)
        weight, bias = weight - weight_step * weight_speed, bias - weight_step * bias_speed
        is_turn = (iteration + 1) % ALPHA_EVERY == 0
        if is_turn:
            alpha = alpha - alpha_step * alpha_gradient
        yield Iterate(BlendedProbe(weight, bias, alpha), iteration, loss, alpha_gradient)
        if is_turn and alpha_grad == "window":
            alpha_gradient = torch.zeros_like(bias)


def best_iterate(steps: Iterator[Iterate], features: Tensor, labels: Tensor, text_weights: Tensor) -> Iterate | None:
    """The iterate with the most correct labels of unit validation features (M, D), the last of these in a tie."""
    best, most = None, -1
    for step in steps:
        right = int((step.probe.logits(features, text_weights).argmax(dim=-1) == labels).sum())
        if right >= most:
            best, most = step, right
    return best


def last_iterate(steps: Iterator[Iterate]) -> Iterate | None:
    """The iterate of the last iteration."""
    latest = deque(steps, maxlen=1)
    return latest[0] if latest else None
