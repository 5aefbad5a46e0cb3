"""MaPLe: prompts in the first blocks of both towers, the vision prompts a linear image of the text prompts.

Khattak et al., "MaPLe: Multi-modal Prompt Learning", arXiv:2210.03117. With blocks L_i of the text tower over words W,
blocks V_i of the vision tower over a class token c and patches E, and prompt depth J:
    [P_i, W_i] = L_i([P_i-1, W_i-1])    with new P_i-1 in front of each of the first J blocks
    [c_i, E_i, _] = V_i([c_i-1, E_i-1, F_i-1(P_i-1)])    i = 1 .. J
    F_i(P) = A_i P + b_i, the coupling function of block i
Cross-entropy over cosines trains all P and F.

Departure: like the released code, P_0 replaces the first words of "a photo of a [CLASS]." only; with two tokens "of a"
    stays in every prompt as it is.
Departure: like the released code, the vision prompts stand behind the patches, and F_1 .. F_J-1 start as copies of one.
"""

import copy
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_set import ClassSet
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.registry import register_method
from adaptkit.layers.context import LearnedContext, phrase_context
from adaptkit.layers.deep_prompts import by_layer, deep_text_prompts
from adaptkit.options import option, options


@options
class MaPLeConfig:
    n_ctx: int = option(2, "Learnt tokens per text block, and as many vision tokens.", least=1)
    depth: int = option(
        9, "Blocks J of either tower that get prompts, at most as many as the shorter tower has.", least=1
    )
    ctx_init: str = option(
        "a photo of a", "The words in front of the name, at least n_ctx; empty starts from random tokens."
    )


@register_method("maple", MaPLeConfig, touches="before")
class MaPLe(AdaptedCLIP):
    """Image features (B, D) and text features (C, D) of two towers with coupled prompts."""

    consumes = "images"
    provides = frozenset({"class_weights", "image_tokens", "encode_text"})

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet, config: MaPLeConfig):
        super().__init__(backbone, classes)
        vision = backbone.require_vit_blocks("maple")
        depth = min(config.depth, backbone.text_depth, vision.depth)
        ctx, words = phrase_context(backbone, config.ctx_init, config.n_ctx)  # (n_ctx, D_t)
        self.context = LearnedContext(backbone, classes, ctx, words=words)
        self.text_prompts = deep_text_prompts(backbone, config.n_ctx, depth)
        first, later = (nn.Linear(backbone.text_width, vision.width, device=backbone.device) for _ in range(2))
        self.couplings = nn.ModuleList([first, *(copy.deepcopy(later) for _ in self.text_prompts)])

    def logits(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) -> logits (B, C)."""
        return self.backbone.logits(self.encode_image(images), self.current_class_weights())

    def vision_prompts(self) -> dict[int, Tensor]:
        """Vision prompts that the couplings compute from the text prompts: block -> (n_ctx, D_v)."""
        text_prompts = [self.context.ctx, *self.text_prompts]
        return {
            layer: coupling(prompt)
            for layer, (coupling, prompt) in enumerate(zip(self.couplings, text_prompts, strict=True))
        }

    def encode_image(self, images: Tensor) -> Tensor:
        return self.backbone.encode_image(images, self.vision_prompts())  # (B, D)

    def image_tokens(self, images: Tensor) -> Tensor:
        return self.backbone.encode_tokens(images, self.vision_prompts())

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(images), labels)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        return self.context.encode(self.backbone, texts, by_layer(self.text_prompts, first=1))

    def class_weights(self) -> Tensor:
        return F.normalize(self.context(deep=by_layer(self.text_prompts, first=1)), dim=-1)  # (C, D)

    def rebuild_from_names(self) -> None:
        self.context.set_classes(self.backbone, self.classes)
