"""SigLIP's pairwise sigmoid loss, for tuning on image-text pairs.

Zhai et al., "Sigmoid Loss for Language Image Pre-Training", arXiv:2303.15343, equation 1 and algorithm 1. With unit
features I, T (B, D), z_ij = 1 for the two of a pair and -1 for any others:
    L = -1/B sum_i sum_j log sigmoid(z_ij (t <I_i, T_j> + b)),    t = exp(t')

Departure: a backbone with a bias of its own, as SigLIP's are, starts from its own t and b; others from the paper's
    t = 10 and b = -10. Both are learnt beside the method and not saved; `scale="frozen"` keeps them.
Departure: pairs of one group are left out of each other's negatives.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.contract.adapted_towers import AdaptedTowers
from adaptkit.contract.objective import Objective
from adaptkit.contract.pair_objective import PairObjective
from adaptkit.contract.registry import register_objective
from adaptkit.layers.contrastive import other_pairs_of_group
from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.options import option, options

START_SCALE, START_BIAS = 10.0, -10.0


@options
class SigLIPConfig:
    scale: Literal["frozen", "learnt"] = option("learnt", "Whether the scale and the bias of cosines are learnt.")


@register_objective("siglip", SigLIPConfig)
class SigLIP(PairObjective):
    """Each of the B x B pairs of a batch is told on its own whether it belongs together."""

    def __init__(self, method: AdaptedTowers, inner: Objective | None, config: SigLIPConfig):
        super().__init__(method, inner)
        backbone, learnt = method.backbone, config.scale == "learnt"
        if backbone.logit_bias is None:
            log_scale, bias = torch.tensor(math.log(START_SCALE)), torch.tensor(START_BIAS)
        else:
            log_scale, bias = (t.detach().clone() for t in (backbone.logit_scale, backbone.logit_bias))
        self.log_scale = nn.Parameter(log_scale, requires_grad=learnt)
        self.bias = nn.Parameter(bias, requires_grad=learnt)

    def between(self, images: Tensor, texts: Tensor, groups: Tensor) -> Tensor:
        images, texts = F.normalize(at_least_fp32(images), dim=-1), F.normalize(at_least_fp32(texts), dim=-1)
        logits = self.log_scale.exp() * images @ texts.T + self.bias  # (B, B)
        signs = 2 * torch.eye(len(groups), device=logits.device) - 1
        losses = F.logsigmoid(signs * logits).masked_fill(other_pairs_of_group(groups), 0.0)
        return -losses.sum() / len(groups)
