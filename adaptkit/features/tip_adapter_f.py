"""Tip-Adapter-F: Tip-Adapter whose keys are trained, starting from the cache.

Zhang et al., "Tip-Adapter: Training-free Adaption of CLIP for Few-shot Classification", arXiv:2111.03930:
    logits = 100 f . w_c + alpha * sum_n exp(-beta (1 - f . k_n)) [y_n = c]
trained by cross-entropy over the keys k_n (N, D) at the initial alpha and beta, which are searched afterwards. The keys
start at unit length and are not normalised again; labels and class weights stay.

Departure: the released code keeps the epoch with the best test accuracy; this keeps the last.
Departure: see tip_adapter for views, search and precision.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_set import ClassSet
from adaptkit.contract.method import AdaptedCLIP, Support
from adaptkit.contract.registry import register_method
from adaptkit.contract.replicas import Replicas
from adaptkit.features.tip_adapter import TipAdapterConfig, tip_prompts
from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.layers.replica_steps import backward_each, cross_entropies
from adaptkit.layers.support_cache import SupportCache


@register_method("tip_adapter_f", TipAdapterConfig, touches="after")
class TipAdapterF(AdaptedCLIP):
    """Frozen image features (B, D) against class weights (C, D) and learnt keys (N, D) of the support set."""

    consumes = "features"
    takes_sentences = True
    provides = frozenset({"backward_replicas", "prepare", "tune"})

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet, config: TipAdapterConfig):
        super().__init__(backbone, classes)
        self.prompts = tip_prompts(backbone, classes, config.template_set)
        self.cache = SupportCache(len(classes), self.weights, config.alpha, config.beta, learns=True)
        self.config, self.support_views = config, config.augment_views

    @property
    def weights(self) -> Tensor:
        """Zero-shot class weights (C, D), in fp32 or better."""
        return at_least_fp32(self.prompts())

    def prepare(self, support: Support) -> None:
        self.cache.fill(support)

    def logits(self, image_features: Tensor) -> Tensor:
        """Frozen image features (B, D), fresh or from the cache -> logits (B, C), zero-shot until `prepare`."""
        return self._logits(image_features, self.cache.keys, self.cache.labels)

    def _logits(self, image_features: Tensor, keys: Tensor, labels: Tensor) -> Tensor:
        weights = self.weights
        with torch.autocast(image_features.device.type, enabled=False):
            query = F.normalize(image_features.to(weights), dim=-1)
            return self.cache.logits_with(query, weights, keys, labels)

    def loss(self, image_features: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(image_features), labels)

    def backward_replicas(self, replicas: Replicas, x: Tensor, labels: Tensor) -> Tensor:
        of_keys = replicas.own.get("cache.labels", self.cache.labels)  # (R, N), or (N,) where they are the same
        return backward_each(cross_entropies(self._logits(x, replicas.learnt["cache.keys"], of_keys), labels))

    def tune(self, validation: Support) -> None:
        if self.config.search == "validation":
            self.cache.search(self.weights, validation, self.config.grid)

    def learnt_state(self) -> dict[str, Tensor]:
        return self.cache.state()

    def load_learnt_state(self, state: dict[str, Tensor]) -> None:
        self.cache.restore(state)

    @property
    def bound_to_classes(self) -> str:
        return (
            f"the keys are images of the {len(self.classes)} classes they were made from and none of others; "
            "make a new tip_adapter_f and prepare it with images of the new classes"
        )
