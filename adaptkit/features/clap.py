"""CLAP: a linear probe that starts at zero-shot and is held near it, class by class; no validation images.

Silva-Rodriguez et al., "A Closer Look at the Few-Shot Adaptation of Large Vision-Language Models", arXiv:2312.12730.
With text features t_c and learnt prototypes w_c that start there:
    logits = exp(logit_scale) * cos(f, w_c)
    loss = cross-entropy + mean_c lambda_c |w_c - t_c|^2
    lambda_c = mean of the zero-shot probability of c over the support images of c
so classes that zero-shot knows are held tighter. Without the constraint this is the paper's ZS-LP.

Written from the paper's idea and a reading of its released code, not checked against recorded numbers.
Departure: like the released code, lambda keeps its first value; the outer steps of the augmented Lagrangian are left
    out, and the penalty is averaged over the classes.
Departure (ours): a class without a support image has lambda 1, where the released code divides by 0; underscores in
    class names are spaces.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_set import ClassSet
from adaptkit.classes.class_weights import template_features
from adaptkit.classes.templates import IMAGENET_SELECTED
from adaptkit.contract.method import AdaptedCLIP, Support
from adaptkit.contract.registry import register_method
from adaptkit.contract.replicas import Replicas
from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.layers.replica_steps import backward_each, cross_entropies
from adaptkit.options import option, options


@options
class CLAPConfig:
    multipliers: Literal["class", "mean", "one", "none"] = option(
        "class", "Lambda is of each class, their mean for all classes, or 1 for all; none is no constraint (ZS-LP)."
    )
    augment_views: int = option(
        20, "Random views of a support image that lambda is computed on; 0 takes the image as it is.", least=0
    )
    template_set: Literal["classes", "imagenet_selected"] = option(
        "classes",
        "The classes' own templates, or ImageNet's seven selected ones in front of them, as released for ImageNet.",
    )


@register_method("clap", CLAPConfig, touches="after")
class CLAP(AdaptedCLIP):
    """Frozen image features (B, D) against learnt prototypes (C, D), held near the text features."""

    consumes = "features"
    provides = frozenset({"backward_replicas", "prepare", "class_weights"})
    multipliers: Tensor

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet, config: CLAPConfig):
        backbone.require_frozen_text(
            "clap", "learns its own prototypes from where the text features stand at the start"
        )
        super().__init__(backbone, classes)
        self.kind, self.support_views = config.multipliers, config.augment_views
        templates = classes.templates
        if config.template_set == "imagenet_selected":
            templates = (*IMAGENET_SELECTED, *templates)
        self.kept = backbone.keep_text(partial(_mean_features, backbone, classes, templates))
        features = self.kept()  # (C, D), not normalised
        self.prototypes = nn.Parameter(features.clone())
        start = torch.ones_like if config.multipliers == "one" else torch.zeros_like
        self.register_buffer("multipliers", start(features[:, 0]), persistent=False)  # (C,), zero before `prepare`

    @property
    def text_features(self) -> Tensor:
        """Text features (C, D) at the start, not normalised."""
        return self.kept()

    @torch.no_grad()
    def prepare(self, support: Support) -> None:
        """Compute lambda from support features (N, D), or (N, V, D) for V views of each image."""
        if self.kind in ("one", "none"):
            return
        views = support.x.shape[1] if support.x.ndim == 3 else 1
        labels = support.labels.to(self.device).repeat_interleave(views)  # (N * V,)
        x = support.x.to(self.text_features).flatten(0, -2)  # (N * V, D)
        probability = self.backbone.logits(x, self.text_features).softmax(dim=-1)
        right = probability[torch.arange(len(x), device=x.device), labels]
        images = torch.bincount(labels, minlength=len(self.classes))
        total = torch.zeros_like(self.multipliers).index_add(0, labels, right)
        self.multipliers = torch.where(images > 0, total / images.clamp(min=1), 1.0)
        if self.kind == "mean":
            self.multipliers = self.multipliers.mean().expand(len(self.classes)).clone()

    def logits(self, image_features: Tensor) -> Tensor:
        """Frozen image features (B, D), fresh or from the cache -> logits (B, C)."""
        return self._logits(image_features, self.prototypes)

    def _logits(self, image_features: Tensor, prototypes: Tensor) -> Tensor:
        with torch.autocast(image_features.device.type, enabled=False):
            return self.backbone.logits(image_features.to(prototypes), prototypes)

    def loss(self, image_features: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(image_features), labels) + self.regularizer(image_features, labels)

    def backward_replicas(self, replicas: Replicas, x: Tensor, labels: Tensor) -> Tensor:
        prototypes = replicas.learnt["prototypes"]  # (R, C, D)
        multipliers = replicas.own.get("multipliers", self.multipliers)  # (R, C), or (C,) where they are the same
        penalty = self._penalty(prototypes, multipliers)
        return backward_each(cross_entropies(self._logits(x, prototypes), labels) + penalty)

    def regularizer(self, image_features: Tensor, labels: Tensor) -> Tensor:
        return self._penalty(self.prototypes, self.multipliers)

    def _penalty(self, prototypes: Tensor, multipliers: Tensor) -> Tensor:
        """The constraint (...) on prototypes (..., C, D)."""
        distance = (prototypes - self.text_features).square().sum(dim=-1)  # (..., C)
        return (multipliers * distance).mean(dim=-1)

    def class_weights(self) -> Tensor:
        return F.normalize(self.prototypes, dim=-1)  # (C, D)

    @property
    def bound_to_classes(self) -> str:
        return (
            f"there is a prototype for each of the {len(self.classes)} classes it was learnt on and none for others, "
            "which would be zero-shot; use coop or clip_adapter to transfer"
        )


def _mean_features(backbone: FrozenCLIP, classes: ClassSet, templates: Sequence[str]) -> Tensor:
    per_template = [template_features(backbone, classes, template) for template in templates]
    return at_least_fp32(torch.stack(per_template).mean(dim=0))
