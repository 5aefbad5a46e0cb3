"""Mod-X: contrastive tuning on new pairs while similarities keep the shape that the old model gave them.

Ni et al., "Continual Vision-Language Representation Learning with Off-Diagonal Information", arXiv:2305.07437. The loss
is in `losses.py`; the old model is the method as it stood when the objective was made: the adapter of the phase before,
or zero-shot CLIP in the first.

Departure: the released code sums over rows, so its alignment grows with the batch; here it is the mean over rows with
    alpha = 20 * 280, which is the same at the released batch of 280. `reduction="sum", alpha=20` is the released loss.
Departure: a row counts as rightly judged if the old model finds any pair of its group or of the same caption;
    `gate="own"` is the released gate.
Departure: the scale is the backbone's own and stays; `scale="learnt"` is the released one, kept within [0, 4.6052].
Departure: the old model runs without gradients; in the released code they are computed and come to nothing.
"""

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.contract.adapted_towers import AdaptedTowers
from adaptkit.contract.batches import PairText
from adaptkit.contract.objective import Objective
from adaptkit.contract.pair_objective import PairObjective
from adaptkit.contract.registry import register_objective
from adaptkit.layers.contrastive import info_nce
from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.objectives.modx.losses import ALPHA_OF_MEAN, Gate, Reduction, alignment
from adaptkit.objectives.modx.old_model import OldModel
from adaptkit.objectives.modx.recorded import clamp_logit_scale
from adaptkit.options import option, options


@options
class ModXConfig:
    alpha: float = option(
        ALPHA_OF_MEAN,
        "Weight of the alignment; 0 leaves it out. 20 with the sum over rows is the released weight, and 5600 with "
        "their mean is the same in the released batch of 280.",
        least=0,
    )
    align_tau: float = option(
        1.0,
        "Temperature of the softmaxes that are aligned: 1 as released. A smaller one, such as 0.07 for cosines that "
        "lie in a narrow band, wants a smaller alpha.",
        above=0,
    )
    off_diagonal: bool = option(False, "Align how a row spreads over the other pairs alone, without its own.")
    reduction: Reduction = option("mean", "Mean of the rows' divergences, or their sum, as released.")
    gate: Gate = option(
        "groups",
        "Rows that are aligned: those of which the old model finds a pair of the group or of the same caption, those "
        "of which it finds its own pair, as released, or all.",
    )
    scale: Literal["frozen", "learnt"] = option(
        "frozen", "The backbone's own scale of cosines, or one that is learnt from there, as released."
    )


@register_objective("modx", ModXConfig)
class ModX(PairObjective):
    """InfoNCE of the current features, and the divergence of their similarities from the old ones."""

    def __init__(self, method: AdaptedTowers, inner: Objective | None, config: ModXConfig):
        super().__init__(method, inner)
        self.config = config
        self.old = OldModel(method)
        log_scale = method.backbone.logit_scale.detach().clone()
        self.log_scale = nn.Parameter(log_scale, requires_grad=config.scale == "learnt")

    def image_side(self, method: AdaptedTowers, images: Tensor) -> Tensor:
        return self.old.image_rows(method, images)

    def text_side(self, method: AdaptedTowers, texts: Sequence[PairText] | Tensor) -> Tensor:
        return self.old.text_rows(method, texts)

    def between(self, images: Tensor, texts: Tensor, groups: Tensor) -> Tensor:
        """The loss of a batch.

        Args:
            images: features now and then (B, 2, D), not normalised.
            texts: the same of texts.
        """
        image, image_old = F.normalize(at_least_fp32(images), dim=-1).unbind(dim=1)  # (B, D) each
        text, text_old = F.normalize(at_least_fp32(texts), dim=-1).unbind(dim=1)
        if self.log_scale.requires_grad:
            clamp_logit_scale(self.log_scale)  # before a step, which is after the step before
        nce, config = info_nce(image, text, self.log_scale.exp(), groups), self.config
        if not config.alpha:
            return nce
        align = alignment(
            image,
            text,
            image_old,
            text_old,
            tau=config.align_tau,
            off_diagonal=config.off_diagonal,
            reduction=config.reduction,
            gate=config.gate,
            groups=groups,
        )
        return nce + config.alpha * align.loss
