"""InfoNCE: the symmetric contrastive loss with which CLIP was trained, for tuning on image-text pairs.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", arXiv:2103.00020, figure 3.
With unit features I, T (B, D) of the pairs of a batch and a scale s:
    L = 1/2 [CE(s I T^T, diag) + CE(s T I^T, diag)]

Departure: pairs of one group, such as two captions of one photograph, are left out of each other's negatives; CLIP's
    batches have none that anybody knows of.
Departure: s is the backbone's own and stays, because it is what the saved model will be used with; `scale="learnt"`
    trains it beside the method, as CLIP was trained, and it is not saved.
"""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.contract.adapted_towers import AdaptedTowers
from adaptkit.contract.objective import Objective
from adaptkit.contract.pair_objective import PairObjective
from adaptkit.contract.registry import register_objective
from adaptkit.layers.contrastive import info_nce
from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.options import option, options

MOST = 100.0  # of a learnt scale, as CLIP's


@options
class InfoNCEConfig:
    scale: Literal["frozen", "learnt"] = option(
        "frozen", "The backbone's own scale of cosines, or one that is learnt from there, at most 100."
    )


@register_objective("info_nce", InfoNCEConfig)
class InfoNCE(PairObjective):
    """Every image is to find its text among those of the batch, and every text its image."""

    def __init__(self, method: AdaptedTowers, inner: Objective | None, config: InfoNCEConfig):
        super().__init__(method, inner)
        log_scale = method.backbone.logit_scale.detach().clone()
        self.log_scale = nn.Parameter(log_scale, requires_grad=config.scale == "learnt")

    def between(self, images: Tensor, texts: Tensor, groups: Tensor) -> Tensor:
        images, texts = F.normalize(at_least_fp32(images), dim=-1), F.normalize(at_least_fp32(texts), dim=-1)
        scale = self.log_scale.exp()
        if self.log_scale.requires_grad:
            scale = scale.clamp(max=MOST)
        return info_nce(images, texts, scale, groups)
