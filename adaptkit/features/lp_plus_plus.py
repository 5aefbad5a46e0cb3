"""LP++: a linear probe that blends in the text classifier by a learnt factor per class, with computed step sizes.

Huang, Shakeri et al., "LP++: A Surprisingly Strong Linear Probe for Few-Shot CLIP", arXiv:2404.02285. For unit features
f and unit class weights t_c:
    logits_c = w_c . f + b_c + alpha_c (f . t_c)
by 300 full-batch iterations over W, b and alpha, whose starts and step sizes are formulas (layers/blended_probe.py);
of these the one that is best on validation images is kept.

Departure: like the released code, W starts at sums of features, b at random numbers, alpha is one number for all
    classes, alpha steps every tenth iteration, and there is no temperature.
Departure (ours): alpha's gradient is set to zero after its step. The released code never does, so that every step of
    alpha takes all gradients since the first iteration: `alpha_grad="accumulate"`.
Departure (ours): fp32, where the released code keeps features, W and alpha in fp16 on a GPU.
Departure (ours): there are at most 4 validation images per class, where the released code takes as many as shots.
    Without validation images the last iteration is kept. alpha starts from the classes that have images.
"""

from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_set import ClassSet
from adaptkit.contract.method import AdaptedCLIP, Support
from adaptkit.contract.registry import register_method
from adaptkit.features.tip_adapter import tip_prompts
from adaptkit.layers.blended_probe import BlendedProbe, Iterate, best_iterate, iterates, last_iterate, start_of_probe
from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.layers.support_cache import CLIP_SCALE
from adaptkit.layers.support_features import unit_support
from adaptkit.options import option, options


@options
class LPPlusPlusConfig:
    iterations: int = option(300, "Steps of W and b, each on all support features at once.", least=1)
    alpha_grad: Literal["window", "accumulate"] = option(
        "window",
        "Whether alpha steps along its gradients since its last step, or since the first iteration, as released.",
    )
    search: Literal["validation", "none"] = option(
        "validation", "Whether validation images choose the iteration, or the last one is kept."
    )
    augment_views: int = option(
        1, "Random views of a support image, each of which is an example; 0 takes the image as it is.", least=0
    )
    template_set: Literal["classes", "imagenet_selected"] = option(
        "classes",
        "The classes' own templates, or ImageNet's seven selected ones in front of them, as released for ImageNet.",
    )


@register_method("lp_plus_plus", LPPlusPlusConfig, touches="after")
class LPPlusPlus(AdaptedCLIP):
    """Frozen image features (B, D) through a linear layer (C, D) and class weights (C, D), blended class by class."""

    consumes = "features"
    takes_sentences = True
    provides = frozenset({"prepare", "tune"})
    trains_alone = "makes its iterations in `prepare`, by formulas for each step"
    prepares_again = True
    start_bias: Tensor

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet, config: LPPlusPlusConfig):
        super().__init__(backbone, classes)
        self.prompts = tip_prompts(backbone, classes, config.template_set)
        self.config, self.support_views = config, config.augment_views
        weights = self.weights.detach()
        self.weight = nn.Parameter(torch.zeros_like(weights))
        self.bias = nn.Parameter(torch.zeros_like(weights[:, 0]))
        self.alpha = nn.Parameter(torch.full_like(weights[:, 0], CLIP_SCALE))
        bound = weights.shape[1] ** -0.5
        self.register_buffer("start_bias", torch.empty_like(weights[:, 0]).uniform_(-bound, bound), persistent=False)
        self._support: Support | None = None

    @property
    def weights(self) -> Tensor:
        """Zero-shot class weights (C, D), in fp32 or better."""
        return at_least_fp32(self.prompts())

    def prepare(self, support: Support) -> None:
        """Fit the probe to support features (N, D), or (N, V, D) for V views of each image, and keep the last iterate.

        Raises:
            ValueError: if the features have another width, or a label is none of the C classes.
        """
        features, labels = unit_support(support, self.weights, len(self.classes))
        self._support = Support(features, labels)
        self._keep(last_iterate(self._iterates()))

    def tune(self, validation: Support) -> None:
        """Fit the probe again and keep the iterate that is best on validation images.

        Raises:
            ValueError: if `prepare` has not seen a support set, or as `prepare`.
        """
        if self.config.search == "validation":
            features, labels = unit_support(validation, self.weights, len(self.classes))
            self._keep(best_iterate(self._iterates(), features, labels, self.weights.detach()))

    def _iterates(self) -> Iterator[Iterate]:
        if self._support is None:
            raise ValueError("lp_plus_plus has no support set to fit; call prepare before tune")
        x, labels, weights = self._support.x, self._support.labels, self.weights.detach()
        if not x.any():  # nothing to learn from
            return iter(())
        start = start_of_probe(x, labels, weights, self.start_bias.to(weights))
        return iterates(start, x, labels, weights, self.config.iterations, self.config.alpha_grad)

    @torch.no_grad()
    def _keep(self, found: Iterate | None) -> None:
        if found is not None:
            self.weight.copy_(found.probe.weight)
            self.bias.copy_(found.probe.bias)
            self.alpha.copy_(found.probe.alpha)

    def logits(self, image_features: Tensor) -> Tensor:
        """Frozen image features (B, D), fresh or from the cache -> logits (B, C), zero-shot until `prepare`."""
        weights = self.weights
        with torch.autocast(image_features.device.type, enabled=False):
            query, probe = F.normalize(image_features.to(weights), dim=-1), (self.weight, self.bias, self.alpha)
            return BlendedProbe(*(part.to(query) for part in probe)).logits(query, weights)

    def loss(self, image_features: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(image_features), labels)

    @property
    def bound_to_classes(self) -> str:
        return (
            f"the linear layer has a row for each of the {len(self.classes)} classes it was fitted to and none for "
            "others, which would be zero-shot; use gda with mode='base_to_novel', or coop, for new names"
        )
