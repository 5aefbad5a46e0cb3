"""IVLP: independent prompts in both towers, the uncoupled baseline of MaPLe and PromptSRC.

Khattak et al., "MaPLe: Multi-modal Prompt Learning", arXiv:2210.03117, section 3.2, and "Self-regulating Prompts",
arXiv:2307.06948, section 3.1. With blocks T_i of the text tower over words W and prompts P, blocks V_i of the vision
tower over a class token c, patches E and prompts Q:
    [W_i, _] = T_i([P_i-1, W_i-1])     i = 1 .. depth_text;      afterwards the prompts run on like any token
    [c_i, E_i, _] = V_i([c_i-1, E_i-1, Q_i-1])    i = 1 .. depth_vision;    afterwards likewise
Cross-entropy over cosines trains all P and Q. Without vision prompts this is deep language prompting, and the frozen
image tower allows training on cached features.

Departure: like the released code, P_0 replaces the first words of "a photo of a [CLASS]." only; with two text tokens
    "of a" stays in every prompt as it is.
Departure: like the released code, the vision prompts stand behind the patches.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_set import ClassSet
from adaptkit.contract.method import AdaptedCLIP, Consumes
from adaptkit.contract.registry import register_method
from adaptkit.layers.context import LearnedContext, phrase_context
from adaptkit.layers.deep_prompts import by_layer, deep_text_prompts, vision_prompts
from adaptkit.options import option, options


@options
class IVLPConfig:
    n_ctx_text: int = option(2, "Learnt tokens per text block; vpt learns vision prompts alone.", least=1)
    n_ctx_vision: int = option(2, "Learnt tokens per vision block; 0 for language prompts alone.", least=0)
    depth_text: int = option(12, "Text blocks that get their own tokens, at most as many as the tower has.", least=1)
    depth_vision: int = option(
        12,
        "Vision blocks that get their own tokens, at most as many as the tower has; 0 for language prompts alone.",
        least=0,
    )
    ctx_init: str = option(
        "a photo of a", "The words in front of the name, at least n_ctx_text; empty starts from random tokens."
    )


@register_method("ivlp", IVLPConfig, touches="before")
class IVLP(AdaptedCLIP):
    """Prompted image features (B, D) against the text features (C, D) of prompts with learnt tokens."""

    consumes: Consumes = "images"
    provides = frozenset({"class_weights", "image_tokens", "encode_text"})

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet, config: IVLPConfig):
        super().__init__(backbone, classes)
        ctx, words = phrase_context(backbone, config.ctx_init, config.n_ctx_text, "n_ctx_text")  # (n_ctx_text, D_t)
        self.context = LearnedContext(backbone, classes, ctx, words=words)
        self.text_prompts = deep_text_prompts(backbone, config.n_ctx_text, config.depth_text)
        if config.n_ctx_vision and config.depth_vision:
            self.vision_prompts = vision_prompts(backbone, config.n_ctx_vision, config.depth_vision, "ivlp")
        else:
            self.vision_prompts = nn.ParameterList()
            self.consumes = "features"

    def logits(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W), or image features (B, D) without vision prompts -> logits (B, C)."""
        if self.consumes == "images":
            x = self.encode_image(x)  # (B, D)
        return self.backbone.logits(x, self.current_class_weights())

    def encode_image(self, images: Tensor) -> Tensor:
        return self.backbone.encode_image(images, by_layer(self.vision_prompts, first=0))  # (B, D)

    def image_tokens(self, images: Tensor) -> Tensor:
        return self.backbone.encode_tokens(images, by_layer(self.vision_prompts, first=0))

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(x), labels)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        return self.context.encode(self.backbone, texts, by_layer(self.text_prompts, first=1))

    def class_weights(self) -> Tensor:
        return F.normalize(self.context(deep=by_layer(self.text_prompts, first=1)), dim=-1)  # (C, D)

    def rebuild_from_names(self) -> None:
        self.context.set_classes(self.backbone, self.classes)
