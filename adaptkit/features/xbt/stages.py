"""The two stages of XBT as objectives of pairs, so that the training on pairs steps them and writes them down.

Stage 1 has "pairs" of a text's features by the new and by the old model. Stage 2 has images and texts of the new model;
a text's features come twice, side by side: as they are tuned, and as the untouched model has them, for its target.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.pair_objective import PairObjective, text_features
from adaptkit.contract.wrapper import MethodWrapper
from adaptkit.features.xbt.alignment import unit
from adaptkit.features.xbt.losses import TAU, pair_loss, perturbed, text_loss
from adaptkit.features.xbt.projection import Projection


class TextStage(PairObjective):
    """Stage 1: phi learns on texts; `between` has features of the new model as images, of the old one as texts."""

    def __init__(
        self,
        method: AdaptedCLIP,
        phi: Projection,
        sigma_max: float,
        *,
        lambda_c: float = 1.0,
        lambda_m: float = 1.0,
        tau: float = TAU,
    ):
        super().__init__(method)
        self.phi, self.sigma_max = phi, sigma_max
        self.lambda_c, self.lambda_m, self.tau = lambda_c, lambda_m, tau

    def between(self, images: Tensor, texts: Tensor, groups: Tensor) -> Tensor:
        mapped = self.phi.project(perturbed(unit(images), self.sigma_max))
        return text_loss(mapped, unit(texts), lambda_c=self.lambda_c, lambda_m=self.lambda_m, tau=self.tau)


class PairStage(PairObjective):
    """Stage 2: what gives the images learns, and with LoRA what gives the texts; phi stays.

    Args:
        phi: of stage 1, frozen here.
        phi_image: the head of images where that is what learns; None maps images by phi.
    """

    def __init__(self, method: AdaptedCLIP, phi: Projection, phi_image: Projection | None = None, tau: float = TAU):
        super().__init__(method)
        self.phi = phi.requires_grad_(False)
        self.phi_image, self.tau = phi_image, tau

    def between(self, images: Tensor, texts: Tensor, groups: Tensor) -> Tensor:
        """The loss L2; texts are (B, 2 d_n), tuned features beside the untouched ones."""
        tuned, untouched = texts.chunk(2, dim=1)
        targets = self.phi.project(untouched.detach())
        mapped = (self.phi_image or self.phi).project(images)
        return pair_loss(mapped, self.phi.project(tuned), targets, groups, self.tau)


class BesideUntouched(MethodWrapper):
    """A method whose text features (N, 2 d_n) are its own and, beside them, those of the backbone as it was loaded."""

    provides = frozenset({"encode_text"})

    def __init__(self, method: AdaptedCLIP):
        super().__init__(method.backbone, method)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        own = text_features(self.inner, texts)
        with torch.no_grad():
            untouched = self.backbone.as_loaded().encode_text(texts)
        return torch.cat([own, untouched.to(own)], dim=1)
