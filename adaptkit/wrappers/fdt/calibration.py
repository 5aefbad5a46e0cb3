"""The temperature that spreads activations over a wanted number of codes: bisection, once, before training."""

from collections.abc import Callable

import torch
from torch import Tensor

from adaptkit.wrappers.fdt.grounding import Attention, activate

LEAST, MOST = 1e-3, 1e3  # Range of the search for T.
STEPS = 30  # Halvings of that range on a log scale.


def support_size(activations: Tensor) -> Tensor:
    """Number of codes with a weight above 0: activations (B, N) -> (B,)."""
    return (activations > 0).sum(dim=-1).to(activations.dtype)


def effective_support(activations: Tensor) -> Tensor:
    """Number of codes that share the weight, exp of the entropy: normalised activations (B, N) -> (B,)."""
    p = activations / activations.sum(dim=-1, keepdim=True)
    return torch.special.entr(p).sum(dim=-1).exp()


@torch.no_grad()
def calibrate(z: Tensor, attention: Attention, support: float) -> float:
    """Temperature T for pooled scores z (B, N), at which sparsemax's mean support is `support` codes.

    Other activations have no zeros. Their T gives them the mean effective support, exp(entropy), that sparsemax has at
    its own T, so that a comparison is not one of sharpness.
    """
    T = _bisect(lambda T: float(support_size(activate(z / T, "sparsemax")).mean()), support)
    if attention == "sparsemax":
        return T
    target = float(effective_support(activate(z / T, "sparsemax")).mean())
    return _bisect(lambda T: float(effective_support(activate(z / T, attention)).mean()), target)


def _bisect(spread: Callable[[float], float], target: float) -> float:
    """The point at which a spread that grows with T meets the target."""
    low, high = LEAST, MOST
    for _ in range(STEPS):
        middle = (low * high) ** 0.5
        if spread(middle) < target:
            low = middle
        else:
            high = middle
    return (low * high) ** 0.5
