"""FDT on its own: zero-shot CLIP, and patches and words that meet in one codebook of finite discrete tokens.

After Chen et al., "Revisiting Multimodal Representation in Contrastive Learning: From Patch and Token Embeddings to
Finite Discrete Tokens", arXiv:2303.14865: the wrapper `fdt` around `zero_shot`. See
`adaptkit.wrappers.fdt.wrapper` for the equations and the differences from the paper.
"""

from functools import partial

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_set import ClassSet
from adaptkit.contract.method import Consumes
from adaptkit.contract.registry import register_method
from adaptkit.features.zero_shot import ZeroShot, ZeroShotConfig
from adaptkit.wrappers.fdt.head import FDTConfig
from adaptkit.wrappers.fdt.wrapper import FDTWrapper


@register_method("fdt", FDTConfig, touches="after")
class FDT(FDTWrapper):
    """Output rows of the image tower (B, 1 + P, D_v) against class names -> logits (B, C)."""

    consumes: Consumes = "tokens"
    trains_alone = "takes steps of nearly pure arithmetic, which cost as much side by side as one by one"

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet, config: FDTConfig):
        super().__init__(backbone, partial(ZeroShot, classes=classes, config=ZeroShotConfig()), config)
