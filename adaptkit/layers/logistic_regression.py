"""Multinomial logistic regression by full-batch L-BFGS, with scikit-learn's objective and stopping rules.

    minimise over W (C, D), b (C,):   c * sum_i CE(softmax(W x_i + b), y_i) + |W|^2 / 2
or, with labels (N, C) of 0 and 1, of which an image may have several, with the sum of C binary cross-entropies
    sum_ic BCE(sigmoid(w_c x_i + b_c), y_ic)
`c` is scikit-learn's C, the inverse strength of the penalty; b is not penalised. The fit starts from zero, in float64;
as in scikit-learn, the gradient that stops it belongs to this objective divided by c N.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.layers.label_odds import label_loss

MEMORY = 10  # Number of steps that L-BFGS remembers.


def objective(weight: Tensor, bias: Tensor, x: Tensor, labels: Tensor, c: float) -> Tensor:
    """The objective divided by c N: mean cross-entropy + |W|^2 / (2 c N).

    Labels (N, C) of floating point are probabilities of classes.
    """
    return F.cross_entropy(x @ weight.T + bias, labels) + weight.square().sum() / (2 * c * len(x))


def several_labels_objective(weight: Tensor, bias: Tensor, x: Tensor, labels: Tensor, c: float) -> Tensor:
    """The objective of labels (N, C) of 0 and 1 divided by c N: the loss of an image is the sum over its labels."""
    return label_loss(x @ weight.T + bias, labels) + weight.square().sum() / (2 * c * len(x))


@torch.enable_grad()
def fit_logistic_regression(
    x: Tensor, labels: Tensor, n_classes: int, c: float, max_iter: int = 1000, tol: float = 1e-4
) -> tuple[Tensor, Tensor]:
    """Fit features (N, D) and labels (N,), or (N, C) of 0 and 1, -> W (C, D), b (C,), float64.

    Args:
        c: inverse strength of the penalty.
        max_iter: largest number of L-BFGS steps.
        tol: the fit stops once no component of the gradient is larger.

    Raises:
        ValueError: if there are no features, or c is not above 0.
    """
    if not len(x) or not c > 0:
        raise ValueError(f"logistic regression needs features and c above 0; got {len(x)} features and c={c}")
    x, labels = x.detach().double(), labels.to(x.device)
    minimised = objective if labels.ndim == 1 else several_labels_objective
    weight = x.new_zeros(n_classes, x.shape[1]).requires_grad_()
    bias = x.new_zeros(n_classes).requires_grad_()
    solver = torch.optim.LBFGS(
        [weight, bias],
        max_iter=max_iter,
        max_eval=20 * max_iter,
        tolerance_grad=tol,
        tolerance_change=64 * torch.finfo(torch.float64).eps,
        history_size=MEMORY,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        solver.zero_grad()
        loss = minimised(weight, bias, x, labels, c)
        loss.backward()
        return loss

    solver.step(closure)
    return weight.detach(), bias.detach()
