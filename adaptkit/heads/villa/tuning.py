"""ViLLA's second stage: region-text pairs teach a method that changes image features; texts stay frozen.

Varma et al., arXiv:2308.11194: symmetric InfoNCE between the features of regions and those of their texts, and of
whole images and their whole texts, over all pairs of a batch, `losses.region_text_loss`.

Departure: the released code trains the whole image tower; ours trains any method on the frozen one, such as clip_lora,
    or clip_adapter on features that are encoded once.
Departure: regions of equal texts are no negatives of each other; the released code contrasts them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.contract.adapted_towers import AdaptedTowers
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.pair_objective import PairObjective
from adaptkit.contract.wrapper import MethodWrapper
from adaptkit.heads.villa.losses import TAU, region_text_loss
from adaptkit.layers.full_precision import at_least_fp32


class RegionTextObjective(PairObjective):
    """The loss of stage 2 as an objective of pairs.

    Args:
        temperature: tau.
        lambd: weight of the way from regions to texts.
    """

    def __init__(self, method: AdaptedTowers, temperature: float = TAU, lambd: float = 0.5):
        super().__init__(method, None)
        self.temperature, self.lambd = temperature, lambd

    def between(self, images: Tensor, texts: Tensor, groups: Tensor) -> Tensor:
        images, texts = F.normalize(at_least_fp32(images), dim=-1), F.normalize(at_least_fp32(texts), dim=-1)
        return region_text_loss(images, texts, self.temperature, self.lambd, groups)


class TunedOnRegionFeatures(MethodWrapper):
    """A method on features while region-text pairs train it; the training loop hands it (features, texts, groups).

    Raises:
        ValueError: if the method needs more than features.
    """

    def __init__(self, method: AdaptedCLIP, objective: RegionTextObjective):
        if method.consumes != "features":
            raise ValueError(f"{type(method).__name__} needs {method.consumes}; give the crops of the regions")
        super().__init__(method.backbone, method)
        self.objective = objective

    def loss(self, x: Tensor, labels: Tensor, places: Tensor | None = None) -> Tensor:
        """Region features (N, D), text features (N, D) and groups (N,) -> scalar."""
        groups = torch.arange(len(x), device=x.device) if places is None else places
        return self.objective.between(self.inner.image_features_of(x), labels, groups)
