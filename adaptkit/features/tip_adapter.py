"""Tip-Adapter: a cache of the support set beside CLIP's zero-shot classifier; nothing is trained.

Zhang et al., "Tip-Adapter: Training-free Adaption of CLIP for Few-shot Classification", arXiv:2111.03930:
    logits = 100 f . w_c + alpha * sum_n exp(-beta (1 - f . k_n)) [y_n = c]
with f and the keys k_n of unit length; alpha and beta are searched on validation images.

Departure: like the released code, a key is the mean of the features of 10 random views, normalised afterwards.
Departure: the released code searches ImageNet's alpha and beta on the test set; here the search uses validation images,
    and only the bench setting "oracle" does the same as that code.
Departure: the released code runs in fp16, where exp underflows at large beta; this is fp32.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_prompts import ClassPrompts
from adaptkit.classes.class_set import ClassSet
from adaptkit.classes.templates import IMAGENET_SELECTED
from adaptkit.contract.method import AdaptedCLIP, Support
from adaptkit.contract.registry import register_method
from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.layers.support_cache import SearchGrid, SupportCache


@dataclass(frozen=True)
class TipAdapterConfig:
    alpha: float = 1.17  # share of the cache, until a search; the defaults are those of ImageNet
    beta: float = 1.0  # sharpness of the cache, until a search
    search: Literal["validation", "none"] = "validation"  # whether validation images choose alpha and beta
    alpha_max: float = 3.0  # the search looks from 0.1 to below this
    beta_max: float = 7.0  # likewise
    alpha_steps: int = 20
    beta_steps: int = 200
    augment_views: int = 10  # random views of a support image in its key; 0: the image as it is
    template_set: Literal["classes", "imagenet_selected"] = "classes"  # the classes' own templates, or ImageNet's seven

    def __post_init__(self) -> None:
        for name, least in (("alpha_steps", 1), ("beta_steps", 1), ("augment_views", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}; expected at least {least}")

    @property
    def grid(self) -> SearchGrid:
        """Where the search looks."""
        return SearchGrid(self.beta_max, self.alpha_max, self.beta_steps, self.alpha_steps)


@register_method("tip_adapter", TipAdapterConfig, touches="after")
class TipAdapter(AdaptedCLIP):
    """Frozen image features (B, D) against class weights (C, D) and a cache of the support set."""

    consumes = "features"
    provides = frozenset({"prepare", "tune"})
    prepares_again = True

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet, config: TipAdapterConfig):
        super().__init__(backbone, classes)
        self.prompts = tip_prompts(backbone, classes, config)
        self.cache = SupportCache(len(classes), self.weights, config.alpha, config.beta, learns=False)
        self.config, self.support_views = config, config.augment_views

    @property
    def weights(self) -> Tensor:
        """Zero-shot class weights (C, D), in fp32 or better."""
        return at_least_fp32(self.prompts())

    def prepare(self, support: Support) -> None:
        self.cache.fill(support)

    def logits(self, image_features: Tensor) -> Tensor:
        """Frozen image features (B, D) -> logits (B, C), zero-shot until `prepare`."""
        weights = self.weights
        with torch.autocast(image_features.device.type, enabled=False):
            return self.cache(F.normalize(image_features.to(weights), dim=-1), weights)

    def loss(self, image_features: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(image_features), labels)

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
            f"the cache holds images of the {len(self.classes)} classes it was filled with and none of others; "
            "make a new tip_adapter and prepare it with images of the new classes"
        )


def tip_prompts(backbone: FrozenCLIP, classes: ClassSet, config: TipAdapterConfig) -> ClassPrompts:
    """Prompts of the zero-shot classifier beside the cache."""
    templates = classes.templates if config.template_set == "classes" else IMAGENET_SELECTED
    return ClassPrompts(backbone, classes.with_templates(templates))
