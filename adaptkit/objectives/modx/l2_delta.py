"""L2 to the previous delta: InfoNCE, and learnt tensors that stay near where they were. A baseline of Mod-X.

With the learnt tensors theta, and theta_0 as they stood when the objective was made:
    L = L_nce + alpha / 2 |theta - theta_0|^2
which is elastic weight consolidation (Kirkpatrick et al., arXiv:1612.00796, equation 3) with an identity in place of
the Fisher matrix.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.contract.adapted_towers import AdaptedTowers
from adaptkit.contract.objective import Objective
from adaptkit.contract.pair_objective import PairObjective
from adaptkit.contract.registry import register_objective
from adaptkit.layers.contrastive import info_nce
from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.options import option, options


@options
class L2DeltaConfig:
    alpha: float = option(1.0, "Weight of half the squared distance to the old learnt tensors.", least=0)


@register_objective("l2_delta", L2DeltaConfig)
class L2Delta(PairObjective):
    """InfoNCE, and the distance of the learnt tensors from what they were."""

    log_scale: Tensor

    def __init__(self, method: AdaptedTowers, inner: Objective | None, config: L2DeltaConfig):
        super().__init__(method, inner)
        self.config = config
        self.register_buffer("log_scale", method.backbone.logit_scale.detach().clone(), persistent=False)
        self._start = {name: tensor.detach().clone() for name, tensor in method.learnt_parameters().items()}

    def between(self, images: Tensor, texts: Tensor, groups: Tensor) -> Tensor:
        images, texts = F.normalize(at_least_fp32(images), dim=-1), F.normalize(at_least_fp32(texts), dim=-1)
        return info_nce(images, texts, self.log_scale.exp(), groups)

    def regularizer(self, method: AdaptedTowers) -> Tensor:
        learnt = method.learnt_parameters()
        squares = [(learnt[name] - start).square().sum() for name, start in self._start.items()]
        return self.config.alpha / 2 * torch.stack(squares).sum()
