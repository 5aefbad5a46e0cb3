"""Linear probe: logistic regression on frozen image features, its penalty chosen on validation images.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", arXiv:2103.00020, in the
few-shot form that CoOp compares with (Zhou et al., arXiv:2109.01134, lpclip). For features x_i as they are:
    minimise over W, b:   sum_i CE(softmax(W x_i + b), y_i) + |W|^2 / (2 c)
c is the best of {10^6, 10^4, ..., 10^-6} on validation images, the largest in a tie; then the interval [c/10, 10 c]
is halved eight times on a log scale, towards the end that is better on validation images.

With several labels per image it is one logistic regression for each label under the one c, whose best value has the
least binary cross-entropy on validation images.

Departure: like the released code, a coarse grid of 7 and 8 halvings, where CLIP's paper sweeps 96 values.
Departure: like the released code, halving compares the two ends only, so it may leave the best of the coarse grid.
Departure: the released code calls scikit-learn; this is the same objective in torch (`logistic_regression`).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_set import ClassSet
from adaptkit.contract.method import AdaptedCLIP, Support
from adaptkit.contract.registry import register_method
from adaptkit.layers.label_odds import label_loss
from adaptkit.layers.logistic_regression import fit_logistic_regression, objective
from adaptkit.options import option, options

COARSE_EXPONENTS = (6.0, 4.0, 2.0, 0.0, -2.0, -4.0, -6.0)


@options
class LinearProbeConfig:
    c: float = option(
        1.0,
        "Inverse strength of the penalty |W|^2 / (2 c) where there are no validation images; scikit-learn's C.",
        above=0,
    )
    halvings: int = option(
        8, "Halvings of the interval of c on a log scale; 0 keeps the best of the coarse grid.", least=0
    )
    max_iter: int = option(1000, "Steps of L-BFGS for each fit.", least=1)
    tol: float = option(1e-4, "Largest component of the gradient at which a fit ends.", least=0)


@register_method("linear_probe", LinearProbeConfig, touches="after")
class LinearProbe(AdaptedCLIP):
    """Frozen image features (B, D) through a linear layer (C, D) that `prepare` fits to the support set."""

    consumes = "features"
    provides = frozenset({"prepare", "tune"})
    prepares_again = True
    reads_several_labels = True
    trains_alone = "is fitted by L-BFGS, whose steps follow its own losses"

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet, config: LinearProbeConfig):
        backbone.require_frozen_text("linear_probe", "has no text features in its logits")
        super().__init__(backbone, classes)
        self.config, self.c = config, config.c
        self.weight = nn.Parameter(torch.zeros(len(classes), backbone.embed_dim, device=backbone.device))
        self.bias = nn.Parameter(torch.zeros(len(classes), device=backbone.device))
        self._support: Support | None = None

    def prepare(self, support: Support) -> None:
        self._support = support
        self._keep(self.c, *self._fit(self.c))

    def tune(self, validation: Support) -> None:
        """Search c on validation images and keep the best fit.

        Raises:
            ValueError: if `prepare` has not seen a support set.
        """
        fits: dict[float, tuple[Tensor, Tensor]] = {}

        def right_at(exponent: float) -> float:
            if exponent not in fits:
                fits[exponent] = self._fit(10**exponent)
            return _quality(*fits[exponent], validation)

        best = max(COARSE_EXPONENTS, key=right_at)  # `max` takes the first in a tie.
        low, high = best - 1, best + 1
        for _ in range(self.config.halvings):
            if right_at(low) < right_at(high):
                best, low = high, (low + high) / 2
            else:
                best, high = low, (low + high) / 2
        self._keep(10**best, *fits[best])

    def _fit(self, c: float) -> tuple[Tensor, Tensor]:
        if self._support is None:
            raise ValueError("linear_probe has no support set to fit; call prepare before tune")
        return fit_logistic_regression(
            self._support.x, self._support.labels, len(self.classes), c, self.config.max_iter, self.config.tol
        )

    @torch.no_grad()
    def _keep(self, c: float, weight: Tensor, bias: Tensor) -> None:
        self.c = c
        self.weight.copy_(weight)
        self.bias.copy_(bias)

    def logits(self, image_features: Tensor) -> Tensor:
        """Frozen image features (B, D), not normalised -> logits (B, C)."""
        with torch.autocast(image_features.device.type, enabled=False):
            return F.linear(image_features.to(self.weight.dtype), self.weight, self.bias)

    def loss(self, image_features: Tensor, labels: Tensor) -> Tensor:
        """Objective of the fit on a batch, divided by the batch size."""
        return objective(self.weight, self.bias, image_features.to(self.weight.dtype), labels, self.c)

    def regularizer(self, image_features: Tensor, labels: Tensor) -> Tensor:
        return self.weight.square().sum() / (2 * self.c * len(image_features))

    @property
    def bound_to_classes(self) -> str:
        return (
            f"the linear layer has a row for each of the {len(self.classes)} classes it was fitted to and none for "
            "others; use zero_shot or coop for new names"
        )


def _quality(weight: Tensor, bias: Tensor, examples: Support) -> float:
    """Number of examples that a fit classifies correctly; with several labels, its mean loss, negative."""
    logits = examples.x.to(weight) @ weight.T + bias
    if examples.labels.ndim == 2:
        return -float(label_loss(logits, examples.labels.to(weight)))
    return int((logits.argmax(dim=1) == examples.labels.to(weight.device)).sum())
