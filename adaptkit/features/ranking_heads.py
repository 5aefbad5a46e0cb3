"""Ranking heads: a small residual network behind each frozen tower, for retrieval both ways.

An early seed project, "Deep Learning Applied to Image and Text Matching", of which only the abstract could be read:
frozen features of images and of texts go through separate networks into one space, and a ranking objective trains
them. Here, for unit features f, g (D) of the frozen towers:
    a = n(f + A_i(f)),   b = n(g + A_t(g)),   A(x) = W_2 drop(relu(W_1 x + c_1)) + c_2,   n(x) = x / |x|
W_2 and c_2 start at zero, so the start is zero-shot CLIP. `residual=False` leaves f and g out of the sums and starts
from random numbers, as a project without CLIP's joint space had to.

Wang et al., "Learning Deep Structure-Preserving Image-Text Embeddings", arXiv:1511.06078, publish the nearest relative:
two networks behind frozen features, trained by ranking both ways.

Departure: widths, dropout and the residual form are ours, because the abstract gives none.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_prompts import ClassPrompts
from adaptkit.classes.class_set import ClassSet
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.registry import register_method
from adaptkit.layers.bottleneck import Bottleneck
from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.options import option, options


@options
class RankingHeadsConfig:
    hidden: int = option(0, "Width between the two layers of a head; 0 is half of the features' width.", least=0)
    dropout: float = option(0.1, "Dropout behind the ReLU, in training.", least=0, below=1)
    residual: bool = option(True, "Whether a head adds to the frozen feature, or stands in its place.")


@register_method("ranking_heads", RankingHeadsConfig, touches="after")
class RankingHeads(AdaptedCLIP):
    """Image features (B, D) behind one head against text features (C, D) behind another."""

    is_usual = False  # made for pairs, where it is judged
    consumes = "features"
    takes_sentences = True
    provides = frozenset({"class_weights", "encode_text", "text_features_of"})
    trains_alone = "draws noise in every step, which would not be the same side by side"

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet, config: RankingHeadsConfig):
        super().__init__(backbone, classes)
        self.prompts = ClassPrompts(backbone, classes)
        self.residual = config.residual
        width = backbone.embed_dim
        self.image_head = _head(width, config, backbone.device)
        self.text_head = _head(width, config, backbone.device)

    def logits(self, image_features: Tensor) -> Tensor:
        """Frozen image features (B, D), fresh or from the cache -> logits (B, C)."""
        weights = self.current_class_weights()  # (C, D)
        return self.backbone.logits(self.image_features_of(image_features).to(weights), weights)

    def encode_image(self, images: Tensor) -> Tensor:
        return self.image_features_of(self.backbone.encode_image(images))

    def image_features_of(self, x: Tensor) -> Tensor:
        return self._through(self.image_head, x)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        return self.text_features_of(self.backbone.encode_text(texts))

    def text_features_of(self, features: Tensor) -> Tensor:
        return self._through(self.text_head, features)

    def class_weights(self) -> Tensor:
        return self.text_features_of(self.prompts())  # (C, D)

    def loss(self, image_features: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(image_features), labels)

    def _through(self, head: nn.Module, features: Tensor) -> Tensor:
        """Frozen features (N, D) -> unit rows (N, D) of the joint space."""
        with torch.autocast(features.device.type, enabled=False):
            unit = F.normalize(at_least_fp32(features), dim=-1)
            learnt = head(unit)
            return F.normalize(unit + learnt if self.residual else learnt, dim=-1)

    def rebuild_from_names(self) -> None:
        self.prompts.set_classes(self.backbone, self.classes)


def _head(width: int, config: RankingHeadsConfig, device: torch.device) -> Bottleneck:
    """The network A: x (N, D) -> A(x) (N, D)."""
    head = Bottleneck(width, config.hidden or max(width // 2, 1), device, dropout=config.dropout)
    if not config.residual:
        nn.init.xavier_uniform_(head.up.weight)
    return head
