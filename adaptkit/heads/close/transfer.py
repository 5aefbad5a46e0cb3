"""The transfer that heads of CLOSE hold: from a text to what they learn on, and from an image to what they answer on.

Gu et al., arXiv:2211.09778: learn on the perturbed n(g(text)) of `adapters`, answer on n(f(image)).

Departure: a shifted text is brought to unit length before noise and at evaluation (`renorm`), so that a head sees unit
    vectors in both modes; released code leaves it as it is.
Departure: `centre` moves images by mean text minus mean image before a head sees them; the paper leaves images alone.
"""

from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from adaptkit.heads.close.adapters import (
    CovarianceNoise,
    LinearMap,
    MeanShift,
    Noise,
    RandomShift,
    cholesky,
    gap_covariance,
    linear_gap,
    mean_gap,
    unit,
)
from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.options import option, options

AdapterName = Literal["noise", "mean_shift", "random_shift", "covariance", "linear"]
SIGMA, WIDTH = 0.05, 512  # the default deviation of a coordinate, and the width D that it is for
MOST_SIGMA = 10.0
NEEDS_PAIRS = ("covariance", "linear")


@options
class TransferOptions:
    """How texts stand in for images."""

    adapter: AdapterName = option(
        "noise",
        "What happens to texts in training. Noise and random_shift need no images, mean_shift needs some, covariance "
        "and linear need images with their texts.",
    )
    sigma: float | None = option(
        None,
        "Deviation of the noise in each coordinate of a unit vector; null for 0.05 at 512 coordinates, and of the same "
        "length at other widths.",
        least=0,
        most=MOST_SIGMA,
    )
    scale: float = option(1.0, "Factor on the shift of mean_shift and random_shift.", least=-100, most=100)
    renorm: bool = option(
        True, "Shifted and mapped texts are brought to unit length before the noise; the released code does not."
    )
    use_shift: bool = option(True, "Covariance noise lies around the mean difference of images and texts.")
    use_covariance: bool = option(True, "Covariance noise draws with the covariance of image minus text.")
    direction_seed: int = option(0, "Of the direction of random_shift.", least=0, most=2**31 - 1)
    centre: bool = option(False, "Images are moved by mean text minus mean image before the head sees them.")

    def __post_init__(self) -> None:
        if self.adapter == "covariance" and not (self.use_shift or self.use_covariance):
            raise ValueError(
                "use_shift=False and use_covariance=False leave plain noise of adapter='covariance'; take 'noise'"
            )


class Transfer(nn.Module):
    """Texts and images as a head is given them: unit rows (N, D) that only an adapter on the texts tells apart.

    Args:
        width: D of the joint space.
    """

    way: Tensor
    has_seen_images: Tensor

    def __init__(self, options: TransferOptions, width: int):
        super().__init__()
        self.options = options
        self.adapter = made_adapter(options, width)
        self.register_buffer("has_seen_images", torch.tensor(False))
        self.register_buffer("way", torch.zeros(width if options.centre else 0))  # mean text - mean image

    @torch.no_grad()
    def fit(self, images: Tensor, texts: Tensor) -> None:
        """Estimate shift, covariance or map, and the centres, from frozen features, not normalised.

        Args:
            images: (N, D); for mean_shift and centre they need no labels.
            texts: (M, D) of training; for covariance and linear the text of every image, (N, D).

        Raises:
            ValueError: if pairs are needed and not given, or there are no features.
        """
        if not len(images) or not len(texts):
            raise ValueError(f"{len(images)} images and {len(texts)} texts; give features of one or more of each")
        images, texts = at_least_fp32(images), at_least_fp32(texts)
        adapter = self.adapter
        if isinstance(adapter, MeanShift | CovarianceNoise):
            adapter.shift.copy_(mean_gap(images, texts))
        if isinstance(adapter, CovarianceNoise) and adapter.use_covariance:
            adapter.factor.copy_(cholesky(gap_covariance(images, texts)))
        if isinstance(adapter, LinearMap):
            coef, bias = linear_gap(images, texts)
            adapter.coef.copy_(coef)
            adapter.bias.copy_(bias)
        if self.options.centre:
            self.way.copy_(-mean_gap(images, texts))
        self.has_seen_images.fill_(True)

    def of_texts(self, features: Tensor) -> Tensor:
        """Text features (N, D), of any length -> what a head sees of them, perturbed in training mode.

        Raises:
            ValueError: if something is to be estimated from images first.
        """
        if (self.options.adapter not in ("noise", "random_shift") or self.options.centre) and not self.has_seen_images:
            what = f"adapter={self.options.adapter!r}" + (" with centre=True" if self.options.centre else "")
            pairs = " with the texts of these images" if self.options.adapter in NEEDS_PAIRS else ""
            raise ValueError(
                f"{what} has seen no images; call transfer.fit(image_features, text_features){pairs} first, or take "
                "adapter='noise' and centre=False"
            )
        return self.adapter(unit(at_least_fp32(features)))

    def of_images(self, features: Tensor) -> Tensor:
        """Image features (N, D), of any length -> unit rows; no adapter and no noise."""
        u = unit(at_least_fp32(features))
        return unit(u + self.way.to(u)) if self.options.centre else u

    def of_mixed(self, features: Tensor, is_image: Tensor) -> Tensor:
        """Features (N, D) of texts and of the images that `is_image` (N,) marks -> what a head sees of them."""
        return torch.where(is_image[:, None], self.of_images(features), self.of_texts(features))


@runtime_checkable
class LearnsFromTexts(Protocol):
    """A head that holds a transfer and learns on rows of texts and images."""

    transfer: Transfer

    def mixed_loss(self, x: Tensor, targets: Tensor, is_image: Tensor) -> Tensor:
        """Frozen features (N, ...), of images where `is_image` (N,) says so, and targets -> scalar, all rows alike."""


def default_sigma(width: int) -> float:
    """0.05 at 512 coordinates, and at other widths what makes noise of the same length, 1.1 beside a unit vector."""
    return SIGMA * (WIDTH / width) ** 0.5


def made_adapter(options: TransferOptions, width: int) -> nn.Module:
    """The adapter of the options; what it needs of images is zero, or the identity, until `Transfer.fit`."""
    sigma = default_sigma(width) if options.sigma is None else options.sigma
    if options.adapter == "mean_shift":
        return MeanShift(torch.zeros(width), sigma, options.scale, options.renorm)
    if options.adapter == "random_shift":
        generator = torch.Generator().manual_seed(options.direction_seed)
        return RandomShift(torch.randn(width, generator=generator), sigma, options.scale, options.renorm)
    if options.adapter == "covariance":
        identity, nowhere = torch.eye(width), torch.zeros(width)
        return CovarianceNoise(identity, nowhere, sigma, options.use_shift, options.use_covariance)
    if options.adapter == "linear":
        return LinearMap(torch.eye(width), torch.zeros(width), sigma, options.renorm)
    return Noise(sigma)


def layers(width: int, hidden: int, outputs: int) -> nn.Sequential:
    """A linear layer, or with `hidden` above 0 two of them around a ReLU."""
    if not hidden:
        return nn.Sequential(nn.Linear(width, outputs))
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, outputs))


def spread(u: Tensor) -> Tensor:
    """Unit rows (..., D) times sqrt(D): coordinates of size 1, as the first weights of a layer expect them."""
    return u * u.shape[-1] ** 0.5
