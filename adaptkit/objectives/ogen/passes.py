"""The three passes of OGEN's generator in a step, and what they are trained to.

For images with unit features f and labels y, U = W[y] and K = W[N(y)], both without gradients:
    1 unknown from known   a = g(U, K, F_known)     near f          classified among the classes as y
    2 known from unknown   b = g(K, U, f)           near F_known    classified among the classes as N(y)
    3 new from known       c = g(W'[T], U, f)                       classified among the unknown names as T
with T the k unknown names that are most similar to U.

Class weights are (C, D), or (B, C, D) where the prompts depend on the image.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Given:
    """What the passes of one step start from."""

    features: Tensor  # (B, D) unit image features f
    labels: Tensor  # (B,) int64
    near: Tensor  # (B, k) int64, the classes N(y)
    known: Tensor  # (B, k, D) their image features F_known
    nearest_new: Tensor | None  # (B, k') int64, the unknown names T; None where the third pass is left out


@dataclass(frozen=True)
class Made:
    """Features and logits that the passes of one step made; `scale` times the cosines are logits."""

    unknown: Tensor  # (B, D), a
    known: Tensor  # (B * k, D), b
    new: Tensor | None  # (B * k', D), c
    unknown_logits: Tensor  # (B, C)
    known_logits: Tensor  # (B * k, C)
    new_logits: Tensor | None  # (B * k', C')


def rows_of(weights: Tensor, places: Tensor) -> Tensor:
    """Class weights (C, D) or (B, C, D), places (B, q) int64 -> their rows (B, q, D)."""
    if weights.ndim == 2:
        return weights[places]
    return weights.gather(1, places[..., None].expand(-1, -1, weights.shape[-1]))


def cosines(features: Tensor, weights: Tensor) -> Tensor:
    """Unit features (B, q, D), class weights (C, D) or (B, C, D) -> cosines (B, q, C)."""
    return features @ weights.transpose(-1, -2)


def nearest_new(weights: Tensor, new_weights: Tensor, labels: Tensor, k: int, hidden: Tensor | None = None) -> Tensor:
    """The k unknown names (B, k) that are most similar to the classes of images, most similar first.

    Args:
        weights, new_weights: W, and W' of C' names.
        labels: (B,) int64.
        hidden: (C',) the classes that the names are of; an image's own class is no unknown name for it.
    """
    own = rows_of(weights, labels[:, None])  # (B, 1, D)
    similarity = cosines(own, new_weights)[:, 0].detach()  # (B, C')
    others = similarity.shape[1]
    if hidden is not None:
        similarity = similarity.masked_fill(hidden == labels[:, None], -torch.inf)
        others -= 1
    return similarity.topk(min(k, others), dim=-1).indices


def make(generator: nn.Module, weights: Tensor, new_weights: Tensor | None, given: Given, scale: Tensor) -> Made:
    """Run the passes.

    Args:
        generator: g.
        weights: W, in which logits have gradients.
        new_weights: W', in which queries and logits have gradients; read where `given` has `nearest_new`.
        scale: exp(logit_scale).
    """
    own = rows_of(weights, given.labels[:, None]).detach()  # (B, 1, D)
    near = rows_of(weights, given.near).detach()  # (B, k, D)
    image = given.features[:, None]  # (B, 1, D)
    unknown, known = generator(own, near, given.known), generator(near, own, image)
    new, new_logits = None, None
    if given.nearest_new is not None:
        assert new_weights is not None
        made = generator(rows_of(new_weights, given.nearest_new), own, image)  # (B, k', D)
        new, new_logits = made.flatten(0, 1), scale * cosines(made, new_weights).flatten(0, 1)
    return Made(
        unknown.flatten(0, 1),
        known.flatten(0, 1),
        new,
        scale * cosines(unknown, weights).flatten(0, 1),
        scale * cosines(known, weights).flatten(0, 1),
        new_logits,
    )


def squared_distance(made: Tensor, target: Tensor, factor: float = 0.0) -> Tensor:
    """The mean squared distance of rows (N, D), a scalar.

    Args:
        factor: of the mean over all elements; 0 for D. The released code has 512 for any D.
    """
    return (factor or made.shape[-1]) * F.mse_loss(made, target)


def reconstruction(made: Made, given: Given, target: Tensor, factor: float = 0.0) -> Tensor:
    """L_rec: a near the image features, b near the features (B, k, D) of known classes, a scalar."""
    unknown = squared_distance(made.unknown, given.features.detach(), factor)
    return unknown + squared_distance(made.known, target.flatten(0, 1), factor)


def agreement(made: Made, taught: Made, factor: float = 0.0) -> Tensor:
    """How far a student's passes are from its teacher's: D mse of a and of b, and KL(teacher, student) of c."""
    gap = squared_distance(made.unknown, taught.unknown, factor) + squared_distance(made.known, taught.known, factor)
    if made.new_logits is None or taught.new_logits is None:
        return gap
    target = taught.new_logits.softmax(dim=-1)
    return gap + F.kl_div(made.new_logits.log_softmax(dim=-1), target, reduction="batchmean")
