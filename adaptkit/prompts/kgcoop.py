"""KgCoOp: CoOp whose class features are kept near those of a hand-written template.

Yao et al., "Visual-Language Prompt Tuning with Knowledge-guided Context Optimization", arXiv:2303.13283:
    L = L_ce + lambda * L_kg        L_kg = 1/C * sum_c ||w_c - w_c^clip||^2
with class features of unit length: w_c of the learnt prompt, w_c^clip of the template.

Departure: the released code has L_kg = 1/C * sum_c (1 - cos(w_c, w_c^clip)), half the formula's value, with the same
    lambda. That is the default here; `distance="squared"` is the formula.
"""

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_set import ClassSet
from adaptkit.classes.class_weights import class_weights
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.registry import register_method
from adaptkit.contract.replicas import Replicas
from adaptkit.layers.context import LearnedContext, random_context, word_context
from adaptkit.layers.replica_steps import backward_in_parts, cross_entropies
from adaptkit.options import option, options

Distance = Literal["cosine", "squared"]


@options
class KgCoOpConfig:
    n_ctx: int = option(4, "Learnt tokens.", least=1)
    ctx_init: str = option("a photo of a", "Words to start from, which set n_ctx; empty starts from random tokens.")
    guidance: float = option(8.0, "The weight lambda of L_kg.", least=0)
    distance: Distance = option(
        "cosine", "One minus the cosine as released, or the squared distance of the paper, which is twice as large."
    )
    clip_templates: tuple[str, ...] = option((), "Templates of w_clip; where there are none, the data set's.")


@register_method("kgcoop", KgCoOpConfig, touches="before")
class KgCoOp(AdaptedCLIP):
    """Frozen image features (B, D) against class weights (C, D) that stay near the templates' (C, D)."""

    consumes = "features"
    provides = frozenset({"backward_replicas", "class_weights", "encode_text"})

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet, config: KgCoOpConfig):
        super().__init__(backbone, classes)
        self.config = config
        ctx = word_context(backbone, config.ctx_init) if config.ctx_init else random_context(backbone, config.n_ctx)
        self.context = LearnedContext(backbone, classes, ctx)  # (n_ctx, D_t)
        self.kept = backbone.keep_text(self._clip_weights)

    @property
    def clip_weights(self) -> Tensor:
        """Class weights (C, D) of the templates, unit rows."""
        return self.kept()

    def _clip_weights(self) -> Tensor:
        templates = self.config.clip_templates or self.classes.templates
        return class_weights(self.backbone.as_loaded(), self.classes.with_templates(templates))

    def logits(self, image_features: Tensor) -> Tensor:
        """Frozen image features (B, D), fresh or from the cache -> logits (B, C)."""
        return self.backbone.logits(image_features, self.current_class_weights())

    def loss(self, image_features: Tensor, labels: Tensor) -> Tensor:
        weights = self.current_class_weights()  # (C, D)
        cross_entropy = F.cross_entropy(self.backbone.logits(image_features, weights), labels)
        return cross_entropy + self.config.guidance * self.knowledge_gap(weights)

    def backward_replicas(self, replicas: Replicas, x: Tensor, labels: Tensor) -> Tensor:
        return backward_in_parts(replicas, x, labels, self._replica_losses, self.context.variants_at_once)

    def _replica_losses(self, replicas: Replicas, x: Tensor, labels: Tensor) -> Tensor:
        weights = F.normalize(self.context.of_replicas(replicas.learnt["context.ctx"]), dim=-1)  # (R, C, D)
        cross_entropy = cross_entropies(self.backbone.logits(x, weights), labels)
        return cross_entropy + self.config.guidance * self.knowledge_gap(weights)

    def regularizer(self, image_features: Tensor, labels: Tensor) -> Tensor:
        return self.config.guidance * self.knowledge_gap(self.current_class_weights())

    def knowledge_gap(self, weights: Tensor) -> Tensor:
        """Distance L_kg (...) of class weights (..., C, D) from the templates', over all classes."""
        gap = 1 - F.cosine_similarity(weights, self.clip_weights, dim=-1, eps=1e-7).mean(dim=-1)
        return gap if self.config.distance == "cosine" else 2 * gap  # |a - b|^2 = 2 - 2 cos for unit vectors.

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        return self.context.encode(self.backbone, texts)

    def class_weights(self) -> Tensor:
        return F.normalize(self.context(), dim=-1)  # (C, D)

    def rebuild_from_names(self) -> None:
        self.context.set_classes(self.backbone, self.classes)
        self.kept = self.backbone.keep_text(self._clip_weights)
