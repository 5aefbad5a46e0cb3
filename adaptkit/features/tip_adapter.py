"""Tip-Adapter: a cache of the support set beside CLIP's zero-shot classifier; nothing is trained.

Zhang et al., "Tip-Adapter: Training-free Adaption of CLIP for Few-shot Classification", arXiv:2111.03930:
    logits = 100 f . w_c + alpha * sum_n exp(-beta (1 - f . k_n)) [y_n = c]
with f and the keys k_n of unit length; alpha and beta are searched on validation images.

Departure: like the released code, a key is the mean of the features of 10 random views, normalised afterwards.
Departure: the released code searches ImageNet's alpha and beta on the test set; here the search uses validation images,
    and only the bench setting "oracle" does the same as that code.
Departure: the released code runs in fp16, where exp underflows at large beta; this is fp32.
"""

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
from adaptkit.options import option, options


@options
class TipAdapterConfig:
    alpha: float = option(1.17, "Share of the cache, until a search; the default is ImageNet's.", least=0)
    beta: float = option(1.0, "Sharpness of the cache, until a search; the default is ImageNet's.", least=0)
    search: Literal["validation", "none"] = option(
        "validation", "Whether validation images choose alpha and beta, or nothing does."
    )
    alpha_max: float = option(3.0, "The search looks for alpha from 0.1 to below this.", above=0)
    beta_max: float = option(7.0, "The search looks for beta from 0.1 to below this.", above=0)
    alpha_steps: int = option(20, "Values of alpha that the search tries.", least=1)
    beta_steps: int = option(200, "Values of beta that the search tries.", least=1)
    augment_views: int = option(10, "Random views of a support image in its key; 0 takes the image as it is.", least=0)
    template_set: Literal["classes", "imagenet_selected"] = option(
        "classes",
        "The classes' own templates, or ImageNet's seven selected ones in front of them, as released for ImageNet.",
    )

    @property
    def grid(self) -> SearchGrid:
        """Where the search looks."""
        return SearchGrid(self.beta_max, self.alpha_max, self.beta_steps, self.alpha_steps)


@register_method("tip_adapter", TipAdapterConfig, touches="after")
class TipAdapter(AdaptedCLIP):
    """Frozen image features (B, D) against class weights (C, D) and a cache of the support set."""

    consumes = "features"
    takes_sentences = True
    provides = frozenset({"prepare", "tune"})
    prepares_again = True

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet, config: TipAdapterConfig):
        super().__init__(backbone, classes)
        self.prompts = tip_prompts(backbone, classes, config.template_set)
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


def tip_prompts(
    backbone: FrozenCLIP, classes: ClassSet, template_set: Literal["classes", "imagenet_selected"]
) -> ClassPrompts:
    """Prompts of the zero-shot classifier beside a classifier of the support set."""
    if template_set == "classes":
        return ClassPrompts(backbone, classes)
    if classes.sentences is not None:
        raise ValueError(
            f"template_set={template_set!r} for classes with sentences of their own, which it would not read; "
            "take template_set='classes'"
        )
    return ClassPrompts(backbone, classes.with_templates(IMAGENET_SELECTED))
