"""What a head sees in the place of a text while it learns, so that it later understands images.

Gu et al., "I Can't Believe There's No Images! Learning Visual Tasks Using only Language Supervision", arXiv:2211.09778,
and its released code (allenai/close 80f8db0). n brings to unit length, u = n(g(text)), and e is a normal draw (N, D):
    noise          n(u + sigma e)
    mean shift     v = u + scale (mean n(f(image)) - mean n(g(text)))         then n(v + sigma e)
    random shift   v = u + scale r, |r| = 1                                   then n(v + sigma e), or v if sigma = 0
    covariance     v = u + shift + 3 L z, L L^T = Cov(n(f) - n(g)), z normal  then n(v + sigma e)
    linear         v = u A^T + b, the least squares from texts to images      then n(v + sigma e)
In evaluation mode nothing is drawn: noise and covariance give u, the others give v. Images never pass here.

As released, v is of unit length only with `renorm`, which is off there. sigma is the deviation of one coordinate.

Departure: released code draws r from numpy's generator whatever its seed is, and loses it; here r is given and kept.
Departure: released code unpickles shifts, covariances and maps; here they are tensors, and functions estimate them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SPREAD = 3.0  # factor on the draw of the covariance, as released
RIDGE = 1e-4  # share of the mean variance that is added to an estimated covariance, so that it can be factored


def unit(x: Tensor) -> Tensor:
    """Rows (..., D) at length 1."""
    return F.normalize(x, dim=-1)


def with_noise(v: Tensor, sigma: float, noise: Tensor | None = None) -> Tensor:
    """Rows (N, D) + sigma * noise, not normalised; the noise (N, D) is drawn where none is given."""
    return v + sigma * (torch.randn_like(v) if noise is None else noise)


class Noise(nn.Module):
    """Gaussian noise, which needs no images: the paper's default."""

    def __init__(self, sigma: float, renormalise: bool = True):
        super().__init__()
        self.sigma, self.renormalise = sigma, renormalise

    def forward(self, u: Tensor, noise: Tensor | None = None) -> Tensor:
        """Unit text features (N, D) -> (N, D)."""
        if not self.training:
            return u
        moved = with_noise(u, self.sigma, noise)
        return unit(moved) if self.renormalise else moved


class MeanShift(nn.Module):
    """The way from the mean of texts to the mean of images, `shift` (D), and noise."""

    shift: Tensor

    def __init__(self, shift: Tensor, sigma: float, scale: float = 1.0, renorm: bool = False):
        super().__init__()
        self.sigma, self.scale, self.renorm = sigma, scale, renorm
        self.register_buffer("shift", shift)

    def forward(self, u: Tensor, noise: Tensor | None = None) -> Tensor:
        """Unit text features (N, D) -> (N, D)."""
        v = u + self.scale * self.shift.to(u)
        v = unit(v) if self.renorm else v
        return unit(with_noise(v, self.sigma, noise)) if self.training else v


class RandomShift(nn.Module):
    """A fixed way in a direction (D) of any length that means nothing, and noise: how sensitive a head is to shifts."""

    direction: Tensor

    def __init__(self, direction: Tensor, sigma: float, scale: float = 1.0, renorm: bool = False):
        super().__init__()
        self.sigma, self.scale, self.renorm = sigma, scale, renorm
        self.register_buffer("direction", unit(direction))

    def forward(self, u: Tensor, noise: Tensor | None = None) -> Tensor:
        """Unit text features (N, D) -> (N, D)."""
        v = u + self.scale * self.direction.to(u)
        v = unit(v) if self.renorm else v
        return unit(with_noise(v, self.sigma, noise)) if self.training and self.sigma else v


class CovarianceNoise(nn.Module):
    """Draws with the covariance (D, D) of image minus text, around their mean difference (D).

    Args:
        use_shift: the mean difference is added; without the covariance it always is, as released.
        use_covariance: the draw is added.

    Raises:
        ValueError: if both are off, or the covariance is not positive definite.
    """

    factor: Tensor
    shift: Tensor

    def __init__(
        self, covariance: Tensor, shift: Tensor, sigma: float, use_shift: bool = True, use_covariance: bool = True
    ):
        super().__init__()
        if not (use_shift or use_covariance):
            raise ValueError("covariance noise without shift and without covariance is plain noise; take noise")
        self.sigma, self.use_shift, self.use_covariance = sigma, use_shift, use_covariance
        self.register_buffer("factor", cholesky(covariance))
        self.register_buffer("shift", shift)

    def forward(self, u: Tensor, noise: Tensor | None = None, covariance_noise: Tensor | None = None) -> Tensor:
        """Unit text features (N, D) -> (N, D); both draws (N, D) may be given."""
        if not self.training:
            return u
        v = u + self.shift.to(u) if self.use_shift else u
        if self.use_covariance:
            z = torch.randn_like(u) if covariance_noise is None else covariance_noise
            v = v + SPREAD * z @ self.factor.to(u).T
        return unit(with_noise(v, self.sigma, noise))


class LinearMap(nn.Module):
    """The map v = u A^T + b that takes texts nearest to their images, with A (D, D) and b (D), and noise."""

    coef: Tensor
    bias: Tensor

    def __init__(self, coef: Tensor, bias: Tensor, sigma: float, renorm: bool = False):
        super().__init__()
        self.sigma, self.renorm = sigma, renorm
        self.register_buffer("coef", coef)
        self.register_buffer("bias", bias)

    def forward(self, u: Tensor, noise: Tensor | None = None) -> Tensor:
        """Unit text features (N, D) -> (N, D)."""
        v = u @ self.coef.to(u).T + self.bias.to(u)
        v = unit(v) if self.renorm else v
        return unit(with_noise(v, self.sigma, noise)) if self.training else v


def cholesky(covariance: Tensor) -> Tensor:
    """The lower L (D, D) with L L^T = covariance.

    Raises:
        ValueError: if the covariance is not positive definite.
    """
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if bool(failed):
        raise ValueError(
            f"a covariance {tuple(covariance.shape)} is not positive definite; estimate it with `gap_covariance`, "
            "which adds a ridge, or from more pairs"
        )
    return factor


def mean_gap(images: Tensor, texts: Tensor) -> Tensor:
    """Mean of unit image features (N, D) minus mean of unit text features (M, D), which need not be pairs: (D,)."""
    return unit(images).mean(dim=0) - unit(texts).mean(dim=0)


def gap_covariance(images: Tensor, texts: Tensor) -> Tensor:
    """Covariance (D, D) of n(image) - n(text) over pairs (N, D), with a ridge of 1e-4 of the mean variance.

    Raises:
        ValueError: if they are not pairs, or fewer than two.
    """
    check_pairs(images, texts)
    differences = (unit(images) - unit(texts)).double()
    covariance = torch.cov(differences.T)
    ridge = RIDGE * covariance.diagonal().mean().clamp_min(1e-12)
    return (covariance + ridge * torch.eye(len(covariance)).to(covariance)).to(images)


def linear_gap(images: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
    """A (D, D) and b (D) of the least squares n(text) A^T + b = n(image) over pairs (N, D).

    Of several solutions, as with fewer pairs than coordinates, the one nearest to zero around the means.

    Raises:
        ValueError: if they are not pairs, or fewer than two.
    """
    check_pairs(images, texts)
    x, y = unit(texts).double(), unit(images).double()
    coef = (torch.linalg.pinv(x - x.mean(dim=0)) @ (y - y.mean(dim=0))).T
    bias = y.mean(dim=0) - coef @ x.mean(dim=0)
    return coef.to(images), bias.to(images)


def check_pairs(images: Tensor, texts: Tensor) -> None:
    """Refuse features that are no pairs.

    Raises:
        ValueError: names both shapes.
    """
    if images.shape != texts.shape or images.ndim != 2 or len(images) < 2:
        raise ValueError(
            f"image features {tuple(images.shape)} and text features {tuple(texts.shape)} are no pairs; give two or "
            "more images, and for each of them the feature of its own text"
        )
