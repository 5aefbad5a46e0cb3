"""Zero-shot CLIP: hand-written templates, nothing learnt. The baseline is a method too.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", arXiv:2103.00020:
    w_c = normalise(T(template with the name of c)),  logits = exp(logit_scale) * cos(f, w_c)
Several templates are an ensemble: normalise each, average, normalise again.
"""

import torch.nn.functional as F
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_prompts import ClassPrompts
from adaptkit.classes.class_set import ClassSet
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.registry import register_method
from adaptkit.options import options


@options
class ZeroShotConfig:
    """Zero-shot CLIP has no options: its templates belong to the classes."""


@register_method("zero_shot", ZeroShotConfig, touches="after")
class ZeroShot(AdaptedCLIP):
    """Frozen image features (B, D) against the class weights (C, D) of the templates."""

    consumes = "features"
    takes_sentences = True
    provides = frozenset({"class_weights", "encode_text", "start_state"})

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet, config: ZeroShotConfig):
        super().__init__(backbone, classes)
        self.prompts = ClassPrompts(backbone, classes)

    def logits(self, image_features: Tensor) -> Tensor:
        """Frozen image features (B, D) -> logits (B, C)."""
        return self.backbone.logits(image_features, self.current_class_weights())

    def loss(self, image_features: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(image_features), labels)

    def start_state(self) -> dict[str, Tensor]:
        return {}

    def rebuild_from_names(self) -> None:
        self.prompts.set_classes(self.backbone, self.classes)

    def class_weights(self) -> Tensor:
        return self.prompts()  # (C, D)
