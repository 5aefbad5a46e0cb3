"""CLIP-Adapter: a residual bottleneck on the frozen image feature.

Gao et al., "CLIP-Adapter: Better Vision-Language Models with Feature Adapters", arXiv:2110.04544. For an image feature
f (not normalised) and, where it is asked for, the class weights W:
    f* = alpha A(f) + (1 - alpha) f,    W* = text_alpha A_t(W) + (1 - text_alpha) W,    A(x) = relu(relu(x W_1) W_2)
trained by cross-entropy over the cosines of f* and W*.

Departure: the paper's A ends in a linear layer; like the released code, ours ends in a ReLU unless asked otherwise.
Departure: like the released code, the image adapter is alone by default, and alpha is 0.2 for every data set.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_prompts import ClassPrompts
from adaptkit.classes.class_set import ClassSet
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.registry import register_method


@dataclass(frozen=True)
class CLIPAdapterConfig:
    alpha: float = 0.2  # share of the adapted image feature
    text_alpha: float = 0.0  # share of the adapted class weights; 0: no text adapter, as released
    reduction: int = 4  # the bottleneck is D // reduction wide
    last: Literal["relu", "linear"] = "relu"  # what the adapter ends in: the released code's, or the paper's

    def __post_init__(self) -> None:
        if self.reduction < 1:
            raise ValueError(
                f"reduction={self.reduction}; the bottleneck is D // reduction wide, so expected 1 or more"
            )


@register_method("clip_adapter", CLIPAdapterConfig)
class CLIPAdapter(AdaptedCLIP):
    """Adapted image features (B, D) against class weights (C, D)."""

    consumes = "features"

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet, config: CLIPAdapterConfig):
        super().__init__(backbone, classes)
        self.alpha, self.text_alpha = config.alpha, config.text_alpha
        self.prompts = ClassPrompts(backbone, classes)
        text_features = self.text_features
        self.image_adapter = _adapter(config, text_features)
        self.text_adapter = _adapter(config, text_features) if config.text_alpha else None

    @property
    def text_features(self) -> Tensor:
        """W (C, D), unit rows, in fp32 or better."""
        weights = self.prompts()
        return weights.to(torch.promote_types(weights.dtype, torch.float32))

    def logits(self, image_features: Tensor) -> Tensor:
        """Frozen image features (B, D), fresh or from the cache -> logits (B, C)."""
        weights = self.current_class_weights()  # (C, D)
        with torch.autocast(image_features.device.type, enabled=False):
            f = image_features.to(weights)
            adapted = self.alpha * self.image_adapter(f) + (1 - self.alpha) * f  # (B, D)
            return self.backbone.logits(adapted, weights)

    def loss(self, image_features: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(image_features), labels)

    def class_weights(self) -> Tensor:
        text_features = self.text_features
        if self.text_adapter is None:
            return text_features
        with torch.autocast(text_features.device.type, enabled=False):
            adapted = self.text_alpha * self.text_adapter(text_features)
            return F.normalize(adapted + (1 - self.text_alpha) * text_features, dim=-1)  # (C, D)

    def set_classes(self, classes: Sequence[str] | ClassSet) -> None:
        self.classes = self._class_set(classes, self.classes)
        self.prompts.set_classes(self.backbone, self.classes)


def _adapter(config: CLIPAdapterConfig, like: Tensor) -> nn.Sequential:
    """x (..., D) -> A(x) (..., D)."""
    width = like.shape[-1]
    if width < config.reduction:
        raise ValueError(f"reduction={config.reduction} leaves no bottleneck in features {width} wide; lower it")
    down = nn.Linear(width, width // config.reduction, bias=False, device=like.device, dtype=like.dtype)
    up = nn.Linear(width // config.reduction, width, bias=False, device=like.device, dtype=like.dtype)
    layers = [down, nn.ReLU(), up]
    return nn.Sequential(*layers, nn.ReLU()) if config.last == "relu" else nn.Sequential(*layers)
