"""CoCoOp: CoOp's context, shifted for every image by what a small network makes of the image.

Zhou et al., "Conditional Prompt Learning for Vision-Language Models", arXiv:2203.05557:
    v_m(x) = v_m + pi                      pi = h(f(x)), the same shift for all M context vectors
    t_c(x) = v_1(x) v_2(x) ... v_M(x) [CLASS]
    p(y = c | x) = softmax_c(cos(f(x), g(t_c(x))) / tau)
with h the meta-net Linear - ReLU - Linear, sixteen times narrower in the middle. Trained by cross-entropy over the v_m
and h. Every image has its own prompts, so B images and C classes make B * C text features, in training and in tests;
the text tower computes them as B groups of one token tree.

Departure: like the released code, the meta-net sees the feature normalised; the paper does not say.
Departure: like the released code, a full stop follows the class name; the paper's formula has none.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_set import ClassSet
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.registry import register_method
from adaptkit.contract.replicas import Replicas
from adaptkit.layers.context import LearnedContext, random_context, word_context
from adaptkit.layers.replica_steps import backward_in_parts, cross_entropies, module_each
from adaptkit.options import option, options

# Text features (images * classes) that exist at the same time: 256 MB at D=512 in fp32.
FEATURES_PER_PASS = 2**17


@options
class CoCoOpConfig:
    n_ctx: int = option(4, "Learnt tokens.", least=1)
    ctx_init: str = option("a photo of a", "Words to start from, which set n_ctx; empty starts from random tokens.")
    reduction: int = option(16, "The meta-net is D // reduction wide in the middle.", least=1)


class MetaNet(nn.Module):
    """The meta-net: image features (B, D) -> shifts of the context (B, D_t)."""

    def __init__(self, dim: int, hidden: int, text_width: int):
        super().__init__()
        self.linear1 = nn.Linear(dim, hidden)
        self.linear2 = nn.Linear(hidden, text_width)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear2(F.relu(self.linear1(x)))


@register_method("cocoop", CoCoOpConfig, touches="before")
class CoCoOp(AdaptedCLIP):
    """Frozen image features (B, D) against the text features (B, C, D) of prompts that the image has shifted."""

    consumes = "features"
    provides = frozenset({"backward_replicas", "weights_per_image"})

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet, config: CoCoOpConfig):
        super().__init__(backbone, classes)
        ctx = word_context(backbone, config.ctx_init) if config.ctx_init else random_context(backbone, config.n_ctx)
        self.context = LearnedContext(backbone, classes, ctx)  # (n_ctx, D_t)
        hidden = max(1, backbone.embed_dim // config.reduction)
        self.meta_net = MetaNet(backbone.embed_dim, hidden, backbone.text_width).to(backbone.device)

    def logits(self, image_features: Tensor) -> Tensor:
        """Frozen image features (B, D), fresh or from the cache -> logits (B, C)."""
        if not len(image_features):  # no image, no prompts to encode
            return image_features.new_zeros(0, len(self.classes))
        parts = image_features.split(max(1, FEATURES_PER_PASS // len(self.classes)))
        return torch.cat([self.backbone.logits(part, self.text_features(part)) for part in parts])

    def text_features(self, image_features: Tensor) -> Tensor:
        """Text features (B, C, D), not normalised, of the prompts that image features (B, D) shift."""
        ctx = self.context.ctx
        shift = self.meta_net(F.normalize(image_features.to(ctx.dtype), dim=-1))  # (B, D_t)
        return self.context(ctx + shift[:, None])

    def weights_per_image(self, image_features: Tensor) -> Tensor:
        return F.normalize(self.text_features(image_features), dim=-1)  # (B, C, D)

    def loss(self, image_features: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(image_features), labels)

    def backward_replicas(self, replicas: Replicas, x: Tensor, labels: Tensor) -> Tensor:
        at_once = max(1, self.context.variants_at_once // x.shape[1])
        return backward_in_parts(replicas, x, labels, self._replica_losses, at_once)

    def _replica_losses(self, replicas: Replicas, x: Tensor, labels: Tensor) -> Tensor:
        ctx = replicas.learnt["context.ctx"]  # (R, n_ctx, D_t)
        unit = F.normalize(x.to(ctx.dtype), dim=-1)  # (R, B, D)
        shift = module_each(self.meta_net, "meta_net", replicas, unit)  # (R, B, D_t)
        features = self.context((ctx[:, None] + shift[:, :, None]).flatten(0, 1))  # (R * B, C, D)
        logits = self.backbone.logits(x.flatten(0, 1), features).unflatten(0, x.shape[:2])  # (R, B, C)
        return cross_entropies(logits, labels)

    def rebuild_from_names(self) -> None:
        self.context.set_classes(self.backbone, self.classes)
