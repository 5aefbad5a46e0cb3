"""TaskRes: an additive residual on the text features.

Yu et al., "Task Residual for Tuning Vision-Language Models", arXiv:2211.10277. For base text features t (C, D):
    t' = t + alpha x,    logits = exp(logit_scale) * cos(f, t')
trained by cross-entropy over the residual x (C, D), which starts at 0.

Departure: like the released code, t is not normalised, and several templates are averaged without normalising; the
    paper's t has unit length. So alpha is tied to the length of CLIP's text features.
Departure: like the released code, class names keep their underscores unless asked otherwise.
Departure: the "enhanced base", a text projection tuned beforehand, is left out: how to tune it is not released.
"""

from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_prompts import LiveTexts
from adaptkit.classes.class_set import ClassSet
from adaptkit.classes.templates import IMAGENET_SELECTED
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.registry import register_method
from adaptkit.contract.replicas import Replicas
from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.layers.replica_steps import backward_each, cross_entropies
from adaptkit.options import option, options


@options
class TaskResConfig:
    alpha: float = option(0.5, "Scale of the residual.", least=0)
    underscores: Literal["keep", "replace"] = option(
        "keep", "Underscores in class names are kept, as released, or replaced by spaces as elsewhere."
    )
    base: Literal["features", "unit"] = option(
        "features", "Text features as they are, as released, or brought to unit length."
    )
    template_set: Literal["classes", "imagenet_selected"] = option(
        "classes",
        "The classes' own templates, or ImageNet's seven selected ones in front of them, as released for ImageNet.",
    )


@register_method("taskres", TaskResConfig, touches="after")
class TaskRes(AdaptedCLIP):
    """Frozen image features (B, D) against text features (C, D) with a learnt residual."""

    consumes = "features"
    provides = frozenset({"backward_replicas", "class_weights"})

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet, config: TaskResConfig):
        super().__init__(backbone, classes)
        self.alpha = config.alpha
        self.config, texts = config, base_texts(classes, config)
        self.n_templates = len(texts) // len(classes)
        self.live = LiveTexts(backbone, texts) if backbone.learns_text else None
        # (templates * C, D)
        self.fixed = None if self.live else backbone.keep_text(partial(backbone.encode_text, texts))
        with torch.no_grad():
            self.residual = nn.Parameter(torch.zeros_like(self.base))

    @property
    def base(self) -> Tensor:
        """Base text features t (C, D) in fp32 or better: the mean over the templates."""
        encoded = self.live if self.live is not None else self.fixed
        assert encoded is not None
        features = encoded()
        base = at_least_fp32(features).unflatten(0, (self.n_templates, -1)).mean(dim=0)  # (templates, C, D) -> (C, D)
        return F.normalize(base, dim=-1) if self.config.base == "unit" else base

    def text_features(self) -> Tensor:
        """Text features t' (C, D) with the residual, not normalised."""
        return self.base + self.alpha * self.residual

    def logits(self, image_features: Tensor) -> Tensor:
        """Frozen image features (B, D), fresh or from the cache -> logits (B, C)."""
        return self._logits(image_features, self.text_features())

    def _logits(self, image_features: Tensor, text_features: Tensor) -> Tensor:
        with torch.autocast(image_features.device.type, enabled=False):
            return self.backbone.logits(image_features.to(text_features), text_features)

    def loss(self, image_features: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(image_features), labels)

    def backward_replicas(self, replicas: Replicas, x: Tensor, labels: Tensor) -> Tensor:
        text_features = self.base + self.alpha * replicas.learnt["residual"]  # (R, C, D)
        return backward_each(cross_entropies(self._logits(x, text_features), labels))

    def class_weights(self) -> Tensor:
        return F.normalize(self.text_features(), dim=-1)  # (C, D)

    @property
    def bound_to_classes(self) -> str:
        return (
            f"the residual has a row for each of the {len(self.classes)} classes it was learnt on and none for others, "
            "which would be zero-shot; use coop or clip_adapter to transfer"
        )


def base_texts(classes: ClassSet, config: TaskResConfig) -> list[str]:
    """Texts to encode: every template with every name, template by template."""
    names = (classes.spoken or classes.classnames) if config.underscores == "keep" else classes.readable
    templates = classes.templates
    if config.template_set == "imagenet_selected":
        templates = (*IMAGENET_SELECTED, *templates)
    return [template.format(name) for template in templates for name in names]
