"""VPT: learnt tokens in the vision tower, shallow or deep; the texts stay as they are.

Jia et al., "Visual Prompt Tuning", arXiv:2203.12119, for blocks L_i over a class token x, patches E and prompts P:
    shallow  [x_1, E_1, Z_1] = L_1([x_0, E_0, P]),        [x_i, E_i, Z_i] = L_i([x_i-1, E_i-1, Z_i-1])
    deep     [x_i, E_i, _]   = L_i([x_i-1, E_i-1, P_i-1])
On CLIP as MaPLe's authors compare it (Khattak et al., arXiv:2210.03117): cross-entropy over cosines with the features
of "a photo of a [CLASS].", which are encoded once.

Departure: the paper trains a head on the class token; like MaPLe's released code, this keeps CLIP's cosines.
Departure: the paper puts the prompts behind the class token; like that code, this puts them behind the patches. They
    have no position there, and those of the first block pass the tower's first layer norm.
"""

import torch.nn.functional as F
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_prompts import ClassPrompts
from adaptkit.classes.class_set import ClassSet
from adaptkit.classes.templates import DEFAULT_TEMPLATE
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.registry import register_method
from adaptkit.layers.deep_prompts import by_layer, vision_prompts
from adaptkit.options import option, options


@options
class VPTConfig:
    n_ctx: int = option(8, "Learnt tokens per block.", least=1)
    depth: int = option(
        12, "Blocks that get their own tokens, at most as many as the tower has; 1 is shallow.", least=1
    )
    fixed_templates: tuple[str, ...] = option(
        (DEFAULT_TEMPLATE,), "Templates for every data set; where there are none, the data set's."
    )


@register_method("vpt", VPTConfig, touches="before")
class VPT(AdaptedCLIP):
    """Prompted image features (B, D) against fixed class weights (C, D)."""

    consumes = "images"
    provides = frozenset({"class_weights", "image_tokens", "encode_text"})

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet, config: VPTConfig):
        super().__init__(backbone, classes)
        self.fixed_templates = config.fixed_templates
        self.vision_prompts = vision_prompts(backbone, config.n_ctx, config.depth, "vpt")
        self.prompts = ClassPrompts(backbone, self._prompted())

    def _prompted(self) -> ClassSet:
        return self.classes.with_templates(self.fixed_templates or self.classes.templates)

    def logits(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) -> logits (B, C)."""
        return self.backbone.logits(self.encode_image(images), self.current_class_weights())

    def encode_image(self, images: Tensor) -> Tensor:
        return self.backbone.encode_image(images, by_layer(self.vision_prompts, first=0))  # (B, D)

    def image_tokens(self, images: Tensor) -> Tensor:
        return self.backbone.encode_tokens(images, by_layer(self.vision_prompts, first=0))

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(images), labels)

    def class_weights(self) -> Tensor:
        return self.prompts()  # (C, D)

    def rebuild_from_names(self) -> None:
        self.prompts.set_classes(self.backbone, self._prompted())
