"""MTA: the mode of the views' features, found together with how much each view counts.

Zanella and Ben Ayed, "On the test-time zero-shot generalization of vision-language models: Do we really need prompt
learning?", arXiv:2405.02266, for V views with unit features v and probabilities P (V, C) of the method inside:
    h_i^2 = half the mean squared distance from view i to its int(0.3 (V - 1)) nearest other views
    phi_i = exp(-||v_i - m||^2 / (2 h_i^2)),   A = P P^T
    y <- softmax((phi + lambda_q A y) / lambda_y)            how much each view counts
    m <- normalise(sum_i y_i phi_i v_i)                      mean shift, with phi of the newest m
from y = 1/V and m = v_0, in five rounds of up to five steps of y at the phi of the round's first m, then up to five of
m. Steps end where y or m moves by less than 1e-6. The answer is the logits of m. Nothing is learnt.

Images are computed together, and each ends its steps by itself: one that has come to rest stays as it is.

Departure: a view has at least one neighbour, where the released code's mean of none is not a number below five views.
Departure: h_i^2 is at least the rounding error of its type, so that views which are equal have a density.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.test_views import TestViews
from adaptkit.contract.test_time import Episodic, Seen, register_test_time
from adaptkit.contract.wrapper import MakeInner
from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.options import option, options

ROUNDS = 5
STEPS = 5  # of y, and then of m, in each round
AT_REST = 1e-6  # length of a step after which there is no other one


@options
class MTAConfig:
    n_views: int = option(64, "Views of each image, the first of them without augmentation.", least=1)
    augmix: bool = option(False, "Whether crops go through AugMix.")
    lambda_y: float = option(0.2, "Weight of the entropy of y: the lower it is, the fewer views count.", above=0)
    lambda_q: float = option(4.0, "How much a view gains by views that agree with its probabilities.", least=0)
    neighbours: float = option(
        0.3, "Share of the other views, the nearest ones, that set the bandwidth of a view.", above=0, most=1
    )
    view_seed: int = option(0, "Seed of the random crops.", least=0)


@register_test_time("mta", MTAConfig)
class MTA(Episodic):
    """The mode of the views' features against the class weights of the method inside."""

    is_usual = False  # many views of every image

    def __init__(self, backbone: FrozenCLIP, make_inner: MakeInner, config: MTAConfig):
        inner = make_inner(backbone)
        super().__init__(backbone, inner)
        if "class_weights" not in inner.provides:
            raise ValueError(
                f"mta classifies the mode of the views' features, and {type(inner).__name__} has no class weights that "
                "hold for every feature; put it around zero_shot, coop, taskres, clip_lora or another method with "
                "class weights, or take zero, which needs no more than logits"
            )
        self.config = config
        self.test_views = TestViews(config.n_views, config.augmix, config.view_seed)

    def logits_of_views(self, seen: Seen) -> Tensor:
        """Views (B, V, ...) of B images -> logits (B, C) of the modes of their features, float32 or more."""
        config = self.config
        mode, _ = robust_mode(seen.features, seen.logits, config.lambda_y, config.lambda_q, config.neighbours)
        return self.backbone.logits(mode, self.inner.current_class_weights().to(mode))


def robust_mode(
    features: Tensor, logits: Tensor, lambda_y: float = 0.2, lambda_q: float = 4.0, neighbours: float = 0.3
) -> tuple[Tensor, Tensor]:
    """The mode m (B, D) of the views of B images, unit rows, and how much each view counts, y (B, V), rows of sum one.

    Args:
        features: (B, V, D), unit rows; view 0 is where the mode begins.
        logits: (B, V, C) of the same views; with CLIP, 100 times the cosines.
        lambda_y, lambda_q, neighbours: see `MTAConfig`.

    Raises:
        ValueError: if features and logits are not of the same views.

    Example:
        ```python
        from adaptkit.test_time.mta import robust_mode

        views, texts = torch.randn(2, 64, 512), torch.randn(5, 512)
        views, texts = (torch.nn.functional.normalize(rows, dim=-1) for rows in (views, texts))
        mode, y = robust_mode(views, 100 * views @ texts.T)
        print((100 * mode @ texts.T).argmax(dim=-1))
        ```
    """
    if features.ndim != 3 or features.shape[:2] != logits.shape[:2] or not features.shape[1]:
        raise ValueError(
            f"features have the shape {tuple(features.shape)} and logits {tuple(logits.shape)}; expected (images, "
            "views, width) and (images, views, classes)"
        )
    features = at_least_fp32(features)
    agreement, h = affinities(logits), bandwidths(features, neighbours)  # (B, V, V), (B, V)
    n_images, n_views, _ = features.shape
    y = features.new_full((n_images, n_views), 1 / n_views)
    mode = features[:, 0]
    for _ in range(ROUNDS):
        phi = log_densities(features, mode, h).exp()  # (B, V)
        y = _until_at_rest(y, partial(_weighed, phi, agreement, lambda_y, lambda_q))
        mode = _until_at_rest(mode, partial(_shifted, features, h, y))
    return mode, y


def bandwidths(features: Tensor, neighbours: float = 0.3) -> Tensor:
    """Unit features (B, V, D) -> h (B, V) of each view, by its int(neighbours (V - 1)) nearest others, at least one."""
    features = at_least_fp32(features)
    n_others = features.shape[1] - 1
    nearest = min(n_others, max(1, int(neighbours * n_others)))
    squared = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist").square()  # (B, V, V)
    squared = squared.sort(dim=-1).values[..., 1 : 1 + nearest]  # the first is the view itself
    least = torch.finfo(squared.dtype).eps
    return (squared.sum(dim=-1) / max(1, nearest) / 2).clamp(min=least).sqrt()


def affinities(logits: Tensor) -> Tensor:
    """Logits (B, V, C) -> A (B, V, V): how far the probabilities of two views agree."""
    p = at_least_fp32(logits).softmax(dim=-1)
    return p @ p.mT


def log_densities(features: Tensor, mode: Tensor, h: Tensor) -> Tensor:
    """Features (B, V, D), a mode (B, D) of each image and bandwidths (B, V) -> logarithms of phi (B, V)."""
    return -(features - mode[:, None]).square().sum(dim=-1) / (2 * h.square())


def _weighed(phi: Tensor, agreement: Tensor, lambda_y: float, lambda_q: float, y: Tensor) -> Tensor:
    """The next y (B, V) of densities phi (B, V) and A (B, V, V)."""
    support = (agreement @ y[..., None])[..., 0]
    return ((phi + lambda_q * support) / lambda_y).softmax(dim=1)


def _shifted(features: Tensor, h: Tensor, y: Tensor, mode: Tensor) -> Tensor:
    """The next mode (B, D). Weights y phi are made to sum to one, which changes no unit row and cannot underflow."""
    weights = (y.log() + log_densities(features, mode, h)).softmax(dim=1)
    return F.normalize((weights[:, None] @ features)[:, 0], dim=-1)


def _until_at_rest(rows: Tensor, step: Callable[[Tensor], Tensor]) -> Tensor:
    """Up to STEPS steps of rows (B, N); each row ends with its first step that is shorter than AT_REST."""
    moving = torch.ones(len(rows), 1, dtype=torch.bool, device=rows.device)
    for _ in range(STEPS):
        stepped = step(rows)
        length = (stepped - rows).norm(dim=1, keepdim=True)
        rows = torch.where(moving, stepped, rows)
        moving = moving & (length >= AT_REST)
    return rows
