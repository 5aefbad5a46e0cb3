"""CoOp: the words of the prompt become learnt vectors, one context for all classes or one per class.

Zhou et al., "Learning to Prompt for Vision-Language Models", arXiv:2109.01134:
    t = [V]_1 [V]_2 ... [V]_M [CLASS]                     (the class token at the end)
    p(y = c | f) = softmax_c(cos(f, g(t_c)) / tau)
trained by cross-entropy over the context [V]_1 .. [V]_M only.

Departure: like the released code, a full stop follows the class name; the paper's formula has none.
Departure: like the released code, words in `ctx_init` make one context for all classes; `class_specific` is ignored.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_set import ClassSet
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.registry import register_method
from adaptkit.contract.replicas import Replicas
from adaptkit.layers.context import ClassTokenPosition, LearnedContext, random_context, word_context
from adaptkit.layers.replica_steps import backward_in_parts, cross_entropies
from adaptkit.options import option, options


@options
class CoOpConfig:
    n_ctx: int = option(16, "Learnt tokens.", least=1)
    ctx_init: str = option("", "Words to start from, which set n_ctx; empty starts from random tokens.")
    class_specific: bool = option(False, "One context per class (CSC) instead of one for all.")
    class_token_position: ClassTokenPosition = option("end", "Where the class name stands among the learnt tokens.")


@register_method("coop", CoOpConfig, touches="before")
class CoOp(AdaptedCLIP):
    """Frozen image features (B, D) against the text features (C, D) of prompts with learnt tokens (n_ctx, D_t)."""

    consumes = "features"
    provides = frozenset({"backward_replicas", "class_weights", "encode_text"})

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet, config: CoOpConfig):
        super().__init__(backbone, classes)
        if config.ctx_init:
            ctx = word_context(backbone, config.ctx_init, config.class_token_position)  # (n_ctx, D_t)
        elif config.class_specific:
            ctx = random_context(backbone, len(classes), config.n_ctx)  # (C, n_ctx, D_t)
        else:
            ctx = random_context(backbone, config.n_ctx)  # (n_ctx, D_t)
        self.context = LearnedContext(backbone, classes, ctx, config.class_token_position)
        if ctx.ndim == 3:
            self.provides = self.provides - {"encode_text"}

    def logits(self, image_features: Tensor) -> Tensor:
        """Frozen image features (B, D), fresh or from the cache -> logits (B, C)."""
        return self.backbone.logits(image_features, self.current_class_weights())

    def loss(self, image_features: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(image_features), labels)

    def backward_replicas(self, replicas: Replicas, x: Tensor, labels: Tensor) -> Tensor:
        return backward_in_parts(replicas, x, labels, self._replica_losses, self.context.variants_at_once)

    def _replica_losses(self, replicas: Replicas, x: Tensor, labels: Tensor) -> Tensor:
        weights = F.normalize(self.context.of_replicas(replicas.learnt["context.ctx"]), dim=-1)  # (R, C, D)
        return cross_entropies(self.backbone.logits(x, weights), labels)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        return self.context.encode(self.backbone, texts)

    def class_weights(self) -> Tensor:
        return F.normalize(self.context(), dim=-1)  # (C, D)

    @property
    def bound_to_classes(self) -> str | None:
        if self.context.ctx.ndim == 2:
            return None
        return (
            "class-specific contexts belong to the classes they were learnt on and say nothing about other names; "
            "train with class_specific=False to transfer"
        )

    def rebuild_from_names(self) -> None:
        self.context.set_classes(self.backbone, self.classes)
