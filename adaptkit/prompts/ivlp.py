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
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_set import ClassSet
from adaptkit.contract.method import AdaptedCLIP, Consumes
from adaptkit.contract.registry import register_method
from adaptkit.layers.context import LearnedContext, phrase_context
from adaptkit.layers.deep_prompts import by_layer, deep_text_prompts, vision_prompts


@dataclass(frozen=True)
class IVLPConfig:
    n_ctx_text: int = 2  # learnt tokens per text block
    n_ctx_vision: int = 2  # learnt tokens per vision block; 0 for language prompts alone
    depth_text: int = 12  # text blocks that get their own tokens, at most as many as the tower has
    depth_vision: int = 12  # likewise in the vision tower; 0 for language prompts alone
    ctx_init: str = "a photo of a"  # the words in front of the name; random tokens if they are fewer than n_ctx_text

    def __post_init__(self) -> None:
        if self.n_ctx_text < 1 or self.depth_text < 1:
            raise ValueError(
                f"n_ctx_text={self.n_ctx_text}, depth_text={self.depth_text}; IVLP learns at least 1 text token in 1 "
                "block; vpt learns vision prompts alone"
            )
        if self.n_ctx_vision < 0 or self.depth_vision < 0:
            raise ValueError(f"n_ctx_vision={self.n_ctx_vision}, depth_vision={self.depth_vision}; expected 0 or more")


@register_method("ivlp", IVLPConfig, touches="before")
class IVLP(AdaptedCLIP):
    """Prompted image features (B, D) against the text features (C, D) of prompts with learnt tokens."""

    consumes: Consumes = "images"
    provides = frozenset({"class_weights", "image_tokens", "encode_text"})

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet, config: IVLPConfig):
        super().__init__(backbone, classes)
        ctx, words = phrase_context(backbone, config.ctx_init, config.n_ctx_text)  # (n_ctx_text, D_t)
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
