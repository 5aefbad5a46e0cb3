"""Probes: what a linear layer makes of tuned image features (GIST's fourth step), and how sure that is.

    logistic    multinomial logistic regression with scikit-learn's objective on features of unit length
    sgd         the released one: a linear layer on features as they are, plain SGD at rate 0.5 over batches of 64, the
                weights after the epoch with the best validation accuracy, the latest in a tie

Departure: the logistic probe is the default; the released code has the one by SGD.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.layers.logistic_regression import fit_logistic_regression

RESAMPLES = 1000


@dataclass(frozen=True)
class Probe:
    """A linear layer on image features."""

    weight: Tensor  # (C, D)
    bias: Tensor  # (C,)
    normalises: bool  # whether features are brought to unit length first
    val_accuracies: Tensor | None = None  # (epochs,) shares of validation images, where SGD fitted it

    def logits(self, features: Tensor) -> Tensor:
        """Image features (N, D) -> logits (N, C)."""
        x = F.normalize(features, dim=-1) if self.normalises else features
        return x.to(self.weight) @ self.weight.T + self.bias


@dataclass(frozen=True)
class Bootstrap:
    """The mean of an accuracy over resamples of the test images, and its standard deviation: shares from 0 to 1."""

    mean: float
    std: float


def fit_logistic_probe(features: Tensor, labels: Tensor, n_classes: int, c: float = 1.0) -> Probe:
    """Fit features (N, D), brought to unit length, and labels (N,).

    Args:
        c: inverse strength of the penalty, scikit-learn's C.
    """
    weight, bias = fit_logistic_regression(F.normalize(features, dim=-1), labels, n_classes, c)
    return Probe(weight, bias, normalises=True)


@torch.enable_grad()
def fit_sgd_probe(
    train: tuple[Tensor, Tensor],
    val: tuple[Tensor, Tensor],
    n_classes: int,
    *,
    lr: float = 0.5,
    epochs: int = 1000,
    batch_size: int = 64,
    start: tuple[Tensor, Tensor] | None = None,
) -> Probe:
    """Fit by SGD without momentum and weight decay, and keep the weights that are best on validation images.

    Args:
        train, val: features (N, D), as they are, and labels (N,).
        start: weight (C, D) and bias (C,) to start from; None draws them as `torch.nn.Linear` does.

    Raises:
        ValueError: if there is nothing to fit or to choose by.
    """
    (x, labels), (val_x, val_labels) = train, val
    if not (len(x) and len(val_x) and epochs > 0):
        raise ValueError(
            f"{len(x)} training and {len(val_x)} validation features, {epochs} epochs; give one or more of each"
        )
    layer = nn.Linear(x.shape[1], n_classes, device=x.device, dtype=x.dtype)
    if start is not None:
        layer.load_state_dict({"weight": start[0], "bias": start[1]})
    optimizer = torch.optim.SGD(layer.parameters(), lr=lr)
    accuracies: list[float] = []
    best: tuple[float, Tensor, Tensor] = (-1.0, layer.weight, layer.bias)
    for _ in range(epochs):
        order = torch.randperm(len(x)) if len(x) > batch_size else torch.arange(len(x))
        for rows in order.to(x.device).split(batch_size):
            optimizer.zero_grad()
            F.cross_entropy(layer(x[rows]), labels[rows]).backward()
            optimizer.step()
        with torch.no_grad():
            accuracies.append(float((layer(val_x).argmax(dim=-1) == val_labels).float().mean()))
        if accuracies[-1] >= best[0]:
            best = (accuracies[-1], layer.weight.detach().clone(), layer.bias.detach().clone())
    return Probe(best[1], best[2], normalises=False, val_accuracies=torch.tensor(accuracies))


def in_top(logits: Tensor, labels: Tensor, k: int = 1) -> Tensor:
    """Whether the label is among the k largest logits: (N, C), (N,) -> (N,) bool."""
    return (logits.topk(min(k, logits.shape[-1]), dim=-1).indices == labels[:, None]).any(dim=-1)


def bootstrap(right: Tensor, resamples: int = RESAMPLES, seed: int = 0) -> Bootstrap:
    """Accuracy over resamples of the test images, drawn with replacement.

    Args:
        right: (N,) bool, which test images were right.

    Raises:
        ValueError: if there are fewer than 1 image or 2 resamples.
    """
    if not len(right) or resamples < 2:
        raise ValueError(f"{len(right)} images and {resamples} resamples; expected 1 or more, and 2 or more")
    generator = torch.Generator().manual_seed(seed)
    hits = right.cpu().double()
    shares = [hits[torch.randint(len(hits), (len(hits),), generator=generator)].mean() for _ in range(resamples)]
    accuracies = torch.stack(shares)
    return Bootstrap(float(accuracies.mean()), float(accuracies.std()))
