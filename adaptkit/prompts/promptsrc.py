"""PromptSRC: prompts in both towers, held near the frozen model in three ways.

Khattak et al., "Self-regulating Prompts: Foundational Model Adaptation without Forgetting", arXiv:2307.06948. With
f_p, g_p the prompted and f, g the frozen features of an image and a class, all of unit length, p and q the softmax over
the prompted and the frozen logits:
    L = L_ce + lambda_2 |g_p - g| + lambda_1 |f_p - f| + KL(q || p)            mutual agreement
    P = sum_e w_e P_e,   w_e ~ N(e; mu, sigma^2), sum_e w_e = 1                 averages of the prompts over epochs
    g = the mean over 60 templates                                             textual diversity
The prompts stand as in ivlp.py.

In training mode the prompts are the optimiser's; in eval mode they are P, the average over the epochs so far, which is
tested, saved and deployed.

Departure: like the released code, |.| is the mean over all entries of the C and B features, KL is the sum over B and C
    divided by B * C, and g is averaged before it is brought to unit length.
"""

from collections.abc import Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F
from open_clip import OPENAI_IMAGENET_TEMPLATES
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.images import as_preprocessed
from adaptkit.classes.class_set import ClassSet
from adaptkit.classes.class_weights import template_features
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.registry import register_method
from adaptkit.layers.context import LearnedContext, phrase_context
from adaptkit.layers.deep_prompts import by_layer, deep_text_prompts, vision_prompts
from adaptkit.layers.epoch_average import EpochAverage
from adaptkit.options import option, options
from adaptkit.towers.vision import embed_patches, encode_patches
from adaptkit.towers.watch import Kept

Self = TypeVar("Self", bound="PromptSRC")

# "a photo of a {}." and the others of the released code, CLIP's first 60 for ImageNet.
TEMPLATES = tuple(template("{}") for template in OPENAI_IMAGENET_TEMPLATES[:60])


@options
class PromptSRCConfig:
    n_ctx_text: int = option(4, "Learnt tokens per text block.", least=1)
    n_ctx_vision: int = option(4, "Learnt tokens per vision block.", least=1)
    depth_text: int = option(9, "Text blocks that get their own tokens, at most as many as the tower has.", least=1)
    depth_vision: int = option(9, "Vision blocks that get their own tokens, at most as many as the tower has.", least=1)
    ctx_init: str = option(
        "a photo of a", "The words in front of the name, at least n_ctx_text; empty starts from random tokens."
    )
    text_weight: float = option(25.0, "The weight lambda_2 of the text features' consistency.", least=0)
    image_weight: float = option(10.0, "The weight lambda_1 of the image features' consistency.", least=0)
    logits_weight: float = option(1.0, "The weight of the KL term of the logits.", least=0)
    average_mean: float = option(
        15.0, "The epoch mu, counted from 1, that counts most in the average.", least=0, in_epochs=True
    )
    average_std: float = option(1.0, "The width sigma of the average, in epochs.", above=0, in_epochs=True)


@register_method("promptsrc", PromptSRCConfig, touches="before")
class PromptSRC(AdaptedCLIP):
    """Prompted image features (B, D) against the text features (C, D) of prompts with learnt tokens."""

    consumes = "images"
    provides = frozenset({"class_weights", "image_tokens", "encode_text"})

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet, config: PromptSRCConfig):
        super().__init__(backbone, classes)
        self.config = config
        ctx, words = phrase_context(backbone, config.ctx_init, config.n_ctx_text, "n_ctx_text")  # (n_ctx_text, D_t)
        self.context = LearnedContext(backbone, classes, ctx, words=words)
        self.text_prompts = deep_text_prompts(backbone, config.n_ctx_text, config.depth_text)
        self.vision_prompts = vision_prompts(backbone, config.n_ctx_vision, config.depth_vision, "promptsrc")
        self.average = EpochAverage(self._learnt(), config.average_mean, config.average_std)
        self.kept: Kept | None = None  # g (C, D), made at its first use

    def _learnt(self) -> list[Tensor]:
        return [self.context.ctx, *self.text_prompts, *self.vision_prompts]

    def train(self: Self, mode: bool = True) -> Self:
        """Swap the prompts: the average over the epochs in eval mode, the optimiser's values in training mode."""
        if mode != self.training:
            self.average.swap(self._learnt())
        return super().train(mode)

    def after_epoch(self, epoch: int) -> None:
        was_training = self.training
        self.train()
        self.average.add(self._learnt(), epoch)
        self.train(was_training)

    def logits(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) -> logits (B, C)."""
        return self.backbone.logits(self.encode_image(images), self.current_class_weights())

    def encode_image(self, images: Tensor) -> Tensor:
        return self.backbone.encode_image(images, by_layer(self.vision_prompts, first=0))  # (B, D)

    def image_tokens(self, images: Tensor) -> Tensor:
        return self.backbone.encode_tokens(images, by_layer(self.vision_prompts, first=0))

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        return torch.stack(list(self.losses(images, labels).values())).sum()

    def regularizer(self, images: Tensor, labels: Tensor) -> Tensor:
        losses = self.losses(images, labels)
        return losses["text"] + losses["image"] + losses["logits"]

    def losses(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The four terms of L, weighted scalars by name."""
        config, tower = self.config, self.backbone.require_vit_blocks("promptsrc")
        frozen_tower = self.backbone.as_loaded().require_vit_blocks("promptsrc")
        prompted_text, frozen_text = self.current_class_weights(), self._frozen_class_weights()  # (C, D)
        images = as_preprocessed(images, self.backbone)
        patches = embed_patches(tower, images)  # (B, 1 + P, D_v), shared by both image features
        prompts = by_layer(self.vision_prompts, first=0)
        prompted_image = F.normalize(encode_patches(tower, patches, prompts), dim=-1)  # (B, D)
        prompted_logits = self.backbone.logits(prompted_image, prompted_text)  # (B, C)
        with torch.no_grad():
            frozen_image = F.normalize(encode_patches(frozen_tower, patches), dim=-1)  # (B, D)
            frozen_logits = self.backbone.logits(frozen_image, frozen_text)  # (B, C)
        log_p, log_q = prompted_logits.log_softmax(dim=-1), frozen_logits.log_softmax(dim=-1)
        divergence = F.kl_div(log_p, log_q, reduction="sum", log_target=True) / log_p.numel()
        return {
            "labels": F.cross_entropy(prompted_logits, labels),
            "text": config.text_weight * F.l1_loss(prompted_text, frozen_text),
            "image": config.image_weight * F.l1_loss(prompted_image, frozen_image),
            "logits": config.logits_weight * divergence,
        }

    def _frozen_class_weights(self) -> Tensor:
        if self.kept is None:
            self.kept = self.backbone.keep_text(self._mean_class_weights)
        return self.kept()

    def _mean_class_weights(self) -> Tensor:
        return F.normalize(mean_template_features(self.backbone.as_loaded(), self.classes), dim=-1)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        return self.context.encode(self.backbone, texts, by_layer(self.text_prompts, first=1))

    def class_weights(self) -> Tensor:
        return F.normalize(self.context(deep=by_layer(self.text_prompts, first=1)), dim=-1)  # (C, D)

    def rebuild_from_names(self) -> None:
        self.context.set_classes(self.backbone, self.classes)
        self.kept = None


def mean_template_features(backbone: FrozenCLIP, classes: ClassSet) -> Tensor:
    """Frozen text features (C, D), averaged over the 60 templates before normalisation, in full precision."""
    with torch.autocast(backbone.device.type, enabled=False):
        return torch.stack([template_features(backbone, classes, template) for template in TEMPLATES]).mean(dim=0)
