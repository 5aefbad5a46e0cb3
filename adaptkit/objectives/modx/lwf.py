"""LwF for pairs: InfoNCE, and logits that stay near those of the old model. A baseline of Mod-X.

Li and Hoiem, "Learning without Forgetting", arXiv:1606.09282, whose distillation is from the model before the new task.
With the similarities M, M0 of `losses.py` and the scale s of cosines:
    L = L_nce + alpha / 2 [KL(s M0, s M) + KL(s M0^T, s M^T)], means over rows, all rows

Departure: classes are the pairs of the batch, and the temperature is that of the logits themselves.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from adaptkit.contract.adapted_towers import AdaptedTowers
from adaptkit.contract.batches import PairText
from adaptkit.contract.objective import Objective
from adaptkit.contract.pair_objective import PairObjective
from adaptkit.contract.registry import register_objective
from adaptkit.layers.contrastive import info_nce
from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.objectives.modx.losses import alignment
from adaptkit.objectives.modx.old_model import OldModel
from adaptkit.options import option, options


@options
class LwFConfig:
    alpha: float = option(1.0, "Weight of the divergence from the old model's logits; 0 leaves it out.", least=0)


@register_objective("lwf", LwFConfig)
class LwF(PairObjective):
    """InfoNCE of the current features, and the divergence of all rows of logits from the old ones."""

    log_scale: Tensor

    def __init__(self, method: AdaptedTowers, inner: Objective | None, config: LwFConfig):
        super().__init__(method, inner)
        self.config = config
        self.old = OldModel(method)
        self.register_buffer("log_scale", method.backbone.logit_scale.detach().clone(), persistent=False)

    def image_side(self, method: AdaptedTowers, images: Tensor) -> Tensor:
        return self.old.image_rows(method, images)

    def text_side(self, method: AdaptedTowers, texts: Sequence[PairText] | Tensor) -> Tensor:
        return self.old.text_rows(method, texts)

    def between(self, images: Tensor, texts: Tensor, groups: Tensor) -> Tensor:
        """The loss of a batch from features now and then, (B, 2, D) of images and of texts, not normalised."""
        image, image_old = F.normalize(at_least_fp32(images), dim=-1).unbind(dim=1)  # (B, D) each
        text, text_old = F.normalize(at_least_fp32(texts), dim=-1).unbind(dim=1)
        scale = self.log_scale.exp()
        kept = alignment(image, text, image_old, text_old, tau=1 / scale, reduction="mean", gate="none")
        return info_nce(image, text, scale, groups) + self.config.alpha * kept.loss
