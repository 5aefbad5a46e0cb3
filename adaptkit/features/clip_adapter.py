"""CLIP-Adapter: a residual bottleneck on the frozen image feature.

Gao et al., "CLIP-Adapter: Better Vision-Language Models with Feature Adapters", arXiv:2110.04544. For an image feature
f (not normalised) and, with the text adapter on, the class weights W:
    f* = alpha A(f) + (1 - alpha) f,    W* = text_alpha A_t(W) + (1 - text_alpha) W,    A(x) = relu(relu(x W_1) W_2)
trained by cross-entropy over the cosines of f* and W*.

Departure: the paper's A ends in a linear layer; like the released code, ours ends in a ReLU by default.
Departure: like the released code, the image adapter is alone by default, and alpha is 0.2 for every data set.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_prompts import ClassPrompts
from adaptkit.classes.class_set import ClassSet
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.registry import register_method
from adaptkit.contract.replicas import Replicas
from adaptkit.layers.full_precision import at_least_fp32, run_as
from adaptkit.layers.replica_steps import backward_each, cross_entropies, layers_each
from adaptkit.options import option, options


@options
class CLIPAdapterConfig:
    alpha: float = option(0.2, "Share of the adapted image feature.", least=0, most=1)
    text_alpha: float = option(
        0.0, "Share of the adapted class weights; 0 has no text adapter, as released.", least=0, most=1
    )
    reduction: int = option(4, "The bottleneck is D // reduction wide.", least=1)
    last: Literal["relu", "linear"] = option(
        "relu", "What the adapter ends in: a ReLU as in the released code, or a linear layer as in the paper."
    )


@register_method("clip_adapter", CLIPAdapterConfig, touches="after")
class CLIPAdapter(AdaptedCLIP):
    """Adapted image features (B, D) against class weights (C, D)."""

    consumes = "features"
    takes_sentences = True
    provides = frozenset({"backward_replicas", "class_weights", "encode_text", "text_features_of"})

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet, config: CLIPAdapterConfig):
        super().__init__(backbone, classes)
        self.alpha, self.text_alpha = config.alpha, config.text_alpha
        self.prompts = ClassPrompts(backbone, classes)
        text_features = self.text_features
        self.image_adapter = _adapter(config, text_features)
        self.text_adapter = _adapter(config, text_features) if config.text_alpha else None

    @property
    def text_features(self) -> Tensor:
        """Class weights W (C, D), unit rows, in fp32 or better."""
        return at_least_fp32(self.prompts())

    def logits(self, image_features: Tensor) -> Tensor:
        """Frozen image features (B, D), fresh or from the cache -> logits (B, C)."""
        weights = self.current_class_weights()  # (C, D)
        with torch.autocast(image_features.device.type, enabled=False):
            return self.backbone.logits(self._adapted_image(image_features.to(weights)), weights)

    def _adapted_image(self, f: Tensor) -> Tensor:
        """Adapted image features f* (B, D)."""
        return _blend(run_as(self.image_adapter, f), f, self.alpha)

    def encode_image(self, images: Tensor) -> Tensor:
        return self.image_features_of(self.backbone.encode_image(images))

    def image_features_of(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return self._adapted_image(at_least_fp32(x))

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        return self.text_features_of(self.backbone.encode_text(texts))

    def text_features_of(self, features: Tensor) -> Tensor:
        return self._adapted_text(F.normalize(at_least_fp32(features), dim=-1))

    def loss(self, image_features: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(image_features), labels)

    def backward_replicas(self, replicas: Replicas, x: Tensor, labels: Tensor) -> Tensor:
        weights = self.text_features  # (C, D)
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(weights)
            adapted = _blend(layers_each(self.image_adapter, "image_adapter", replicas, x), x, self.alpha)  # (R, B, D)
            if self.text_adapter is not None:
                of_text = layers_each(self.text_adapter, "text_adapter", replicas, weights)  # (R, C, D)
                weights = F.normalize(_blend(of_text, weights, self.text_alpha), dim=-1)
            return backward_each(cross_entropies(self.backbone.logits(adapted, weights), labels))

    def class_weights(self) -> Tensor:
        if self.text_adapter is None:
            return self.text_features
        return F.normalize(self._adapted_text(self.text_features), dim=-1)  # (C, D)

    def _adapted_text(self, weights: Tensor) -> Tensor:
        """Adapted class weights W* (C, D), not normalised, from unit rows W; W itself without a text adapter."""
        if self.text_adapter is None:
            return weights
        with torch.autocast(weights.device.type, enabled=False):
            return _blend(run_as(self.text_adapter, weights), weights, self.text_alpha)

    def rebuild_from_names(self) -> None:
        self.prompts.set_classes(self.backbone, self.classes)


def _blend(adapted: Tensor, x: Tensor, share: float) -> Tensor:
    return share * adapted + (1 - share) * x


def _adapter(config: CLIPAdapterConfig, like: Tensor) -> nn.Sequential:
    """The bottleneck A: x (..., D) -> A(x) (..., D)."""
    width = like.shape[-1]
    if width < config.reduction:
        raise ValueError(f"reduction={config.reduction} leaves no bottleneck in features {width} wide; lower it")
    down = nn.Linear(width, width // config.reduction, bias=False, device=like.device, dtype=like.dtype)
    up = nn.Linear(width // config.reduction, width, bias=False, device=like.device, dtype=like.dtype)
    layers = [down, nn.ReLU(), up]
    return nn.Sequential(*layers, nn.ReLU()) if config.last == "relu" else nn.Sequential(*layers)
