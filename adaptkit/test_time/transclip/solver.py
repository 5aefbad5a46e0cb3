"""TransCLIP's block updates of assignments, means and variances, of tensors alone.

Zanella et al., "Boosting Vision-Language Models with Transduction", arXiv:2406.01837. Ten times, in turn:
    5 times:  z_i <- n_c[ y_ic^lambda exp( 1/50 (g_ic + 50/6 ((W^T z)_ic + (W z)_ic)) ) ]      all images at once
    mu, sigma^2 <- those of z, as in `mixture`; shots count gamma 50 / S each, an image 1 / N
and then z once more, where n_c divides by the sum over the classes, y are probabilities by another method, and W are
the affinities of `affinity`. z is held as its logarithm, so it is never 0.

Departure: with shots, the released code stacks W as [shots, images] and z as [images, shots], so that the neighbours'
    term joins rows of different images; here they are stacked alike unless stacking="code".
Departure: given probabilities and z are one tensor in the released code's zero-shot form, so y is the z of the step
    before; here y stays as given unless alias="code".
Departure: the released code reads the number of classes from the labels of the test; here the probabilities have it.

Memory: five arrays N x C and two N x D; 50,000 images of 1,000 classes, 512 wide, in 32 bits measured 1.1 GB.

Letters: N images, S shots, C classes, D width of a feature.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.contract.method import Support
from adaptkit.test_time.transclip.affinity import Affinity, nearest, nearest_of_all
from adaptkit.test_time.transclip.mixture import class_sums, first_means, scores, shared_variances, unit_means

Stacking = Literal["matched", "code"]
Alias = Literal["kept", "code"]
Starts = Literal["warm", "fresh"]

SOFTNESS = 50.0  # divides the scores of the Gaussians
NEIGHBOUR_WEIGHT = 1 / 6  # of an affinity: 50 / 6 over the softness
LEAST_LOG = math.log(torch.finfo(torch.float32).tiny)  # of a given probability, also where it is 0
ROWS = 4096  # images that are normalised at a time


@dataclass(frozen=True)
class Choice:
    """What a search of gamma found: log z (N, C) of the first best one, which it is, and all accuracies in percent."""

    log_z: Tensor
    gamma: float
    accuracies: tuple[float, ...]


class Transduction:
    """z, mu and sigma^2 of one set of images, between updates: `log_z` (N, C), `means` (C, D), `variances` (D,).

    Args:
        features: unit features (N, D) of all images.
        log_y: log-probabilities (N, C) by another method, each row normalised; -inf counts as the least of float32.
        shots: unit features (S, D) with labels (S,); None is the zero-shot form.
        kl_weight: lambda, the power of the given probabilities; None is 1, and 0.5 with shots.
        neighbours: of an image in W.
        inner_steps: of z in one of its updates.
        stacking: of W and z with shots, see above; without shots there is nothing to stack.
        alias: whether y stays as given, see above; with shots it does always, as in the released code.

    Raises:
        ValueError: if shapes do not belong together, or a shot's label is none of the C classes.

    Example:
        ```python
        from adaptkit.test_time.transclip import Transduction

        features = torch.nn.functional.normalize(torch.randn(50, 8), dim=-1)
        log_z = Transduction(features, torch.randn(50, 3).log_softmax(dim=-1)).solve()
        assert log_z.shape == (50, 3)
        ```
    """

    log_z: Tensor
    means: Tensor
    variances: Tensor

    def __init__(
        self,
        features: Tensor,
        log_y: Tensor,
        shots: Support | None = None,
        *,
        kl_weight: float | None = None,
        neighbours: int = 3,
        inner_steps: int = 5,
        stacking: Stacking = "matched",
        alias: Alias = "kept",
    ):
        _check(features, log_y, shots)
        self.shots = shots if shots is not None and len(shots.labels) else None
        self.kl_weight = kl_weight if kl_weight is not None else 1.0 if self.shots is None else 0.5
        self.inner_steps, self.follows = inner_steps, alias == "code" and self.shots is None
        self.log_y = log_y.clamp(min=LEAST_LOG)
        self.features = features
        self.centre = features.mean(dim=0)
        self.centred = features - self.centre
        self.squares = self.centred.square().sum(dim=0)  # z of an image sums to 1
        affinity = nearest(features, features, neighbours, of_queries=True)
        self.of_shots: Affinity | None = None
        if self.shots is not None:
            x, labels = self.shots.x, self.shots.labels
            of_shots = nearest(x, features, neighbours, of_queries=False)
            affinity, self.of_shots = _stacked(of_shots, affinity, stacking)
            self.shot_sums, self.shot_counts = class_sums(x - self.centre, labels, log_y.shape[1])
            self.shot_squares = (x - self.centre).square().sum(dim=0)
        self.affinity = affinity.both_ways()
        self.restart()

    def restart(self) -> None:
        """Back to z = y, the first means, and variances of 1 / D."""
        self.log_z = self.log_y.clone()
        self.z = self.log_z.exp()
        self.means = first_means(self.features, self.log_z)
        if self.shots is not None:  # a class without a shot begins with the images that are likeliest of it
            sums = self.shot_sums + self.shot_counts[:, None] * self.centre
            self.means = torch.where(self.shot_counts[:, None] > 0, F.normalize(sums, dim=-1), self.means)
        self.variances = torch.full_like(self.centre, 1 / self.features.shape[1])

    def scores(self) -> Tensor:
        """g (N, C) by the means and variances of now."""
        return scores(self.centred, self.means - self.centre, self.variances)

    def update_z(self) -> None:
        """The inner steps of z."""
        fixed = self.scores().div_(SOFTNESS)
        if self.of_shots is not None and self.shots is not None:
            index, weight = self.of_shots.index, NEIGHBOUR_WEIGHT * self.of_shots.weight
            labels = self.shots.labels[:, None].expand_as(index)
            fixed.index_put_((index.flatten(), labels.flatten()), weight.flatten(), accumulate=True)
        if not self.follows:
            fixed.add_(self.log_y, alpha=self.kl_weight)
        for _ in range(self.inner_steps):
            found = torch.sparse.mm(self.affinity, self.z).mul_(NEIGHBOUR_WEIGHT).add_(fixed)
            if self.follows:
                found.add_(self.log_z, alpha=self.kl_weight)
            for part in found.split(ROWS):
                part.copy_(part.log_softmax(dim=1))
            self.log_z = found
            torch.exp(found, out=self.z)

    def update_mixture(self, gamma: float = 0.0) -> None:
        """Means and variances by z, and by shots where there are any.

        Args:
            gamma: of the shots' weight, gamma 50 / S against 1 / N of an image.
        """
        each = 1 / len(self.z)
        sums, mass = each * (self.z.T @ self.centred), each * self.z.sum(dim=0)
        squares = each * self.squares
        if self.shots is not None:
            weight = gamma * SOFTNESS / len(self.shots.labels)
            sums, mass = sums + weight * self.shot_sums, mass + weight * self.shot_counts
            squares = squares + weight * self.shot_squares
        self.means = unit_means(sums, mass, self.centre, self.means)
        self.variances = shared_variances(sums, mass, squares, self.means - self.centre)

    def iterate(self, gamma: float = 0.0) -> None:
        """One of the ten iterations: z, then means and variances."""
        self.update_z()
        self.update_mixture(gamma)

    def solve(self, gamma: float = 0.0, iterations: int = 10) -> Tensor:
        """All iterations from where the variables are now, and the last update of z -> log z (N, C)."""
        for _ in range(iterations):
            self.iterate(gamma)
        self.update_z()
        return self.log_z

    def search(
        self, gammas: Sequence[float], validation: Support, iterations: int = 10, starts: Starts = "warm"
    ) -> Choice:
        """Solve for one gamma after another, and take the first one with most validation images right.

        A validation image is answered by the z of the image nearest to it.

        Args:
            validation: unit features (V, D) and labels (V,).
            starts: "warm": each gamma goes on where the one before it ended, as in the released code, whose returned z
                is that of the last gamma, `log_z` here; "fresh": each begins anew.
        """
        image = nearest_of_all(validation.x, self.features)
        best, accuracies = self.log_z, []
        for gamma in gammas:
            if starts == "fresh":
                self.restart()
            log_z = self.solve(gamma, iterations)
            right = (log_z[image].argmax(dim=1) == validation.labels).sum()
            accuracies.append(100 * float(right) / len(validation.labels))
            if accuracies[-1] > max(accuracies[:-1], default=-1.0):
                best = log_z
        return Choice(best, gammas[accuracies.index(max(accuracies))], tuple(accuracies))


def _stacked(of_shots: Affinity, of_images: Affinity, stacking: Stacking) -> tuple[Affinity, Affinity]:
    """The rows of W that meet z of images, and those that meet z of shots: their own, or as the released code has it.

    That code multiplies W, with S rows of shots first, by z with N rows of images first.
    """
    if stacking == "matched":
        return of_images, of_shots
    index = torch.cat([of_shots.index, of_images.index])
    stacked = Affinity(index, torch.cat([of_shots.weight, of_images.weight]), of_images.n_columns)
    n_images = len(of_images.index)
    return stacked[:n_images], stacked[n_images:]


def _check(features: Tensor, log_y: Tensor, shots: Support | None) -> None:
    if features.ndim != 2 or log_y.ndim != 2 or len(features) != len(log_y) or not len(features):
        raise ValueError(
            f"features {tuple(features.shape)} with log-probabilities {tuple(log_y.shape)}; expected (N, D) "
            "with (N, C) of the same one or more images"
        )
    if shots is None:
        return
    x, labels, n_classes = shots.x, shots.labels, log_y.shape[1]
    if x.ndim != 2 or x.shape[1] != features.shape[1] or labels.shape != (len(x),):
        raise ValueError(
            f"features {tuple(x.shape)} of shots with labels {tuple(labels.shape)}; expected "
            f"(S, {features.shape[1]}) with (S,)"
        )
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < n_classes:
        raise ValueError(
            f"labels of shots reach from {int(labels.min())} to {int(labels.max())}; there are {n_classes} classes"
        )
