"""Bias: one learnt number per class beside the zero-shot logits.

    logits = exp(logit_scale) * cos(f, w_c) + b_c
An example of a plugin; there is no paper behind it (https://example.org/bias).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit import AdaptedCLIP, ClassSet, FrozenCLIP, class_weights, register_method


@dataclass(frozen=True)
class BiasConfig:
    start: float = 0.0  # of every number


@register_method("bias", BiasConfig, touches="after")
class Bias(AdaptedCLIP):
    """Frozen image features (B, D) against class weights (C, D), with learnt offsets (C,)."""

    consumes = "features"

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet, config: BiasConfig):
        super().__init__(backbone, classes)
        self.register_buffer("weights", class_weights(backbone, classes), persistent=False)
        self.bias = nn.Parameter(torch.full((len(classes),), config.start))

    def logits(self, image_features: Tensor) -> Tensor:
        """Frozen image features (B, D) -> logits (B, C)."""
        return self.backbone.logits(image_features, self.weights) + self.bias

    def loss(self, image_features: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(image_features), labels)

    @property
    def bound_to_classes(self) -> str:
        return f"there is an offset for each of the {len(self.classes)} classes and none for others"
