"""AugMix: an image blended with chains of weak augmentations of itself.

Hendrycks et al., "AugMix: A Simple Data Processing Method to Improve Robustness and Uncertainty", arXiv:1912.02781,
algorithm 1, with three chains of one to three operations and without the losses:
    mixed = m x + (1 - m) sum_i w_i chain_i(x),    w ~ Dirichlet(1, 1, 1),  m ~ Beta(1, 1)
The operations are those that no corruption benchmark tests: contrast, equalisation, fewer bits, solarisation, and
rotation, shearing and shifting. Test-time methods use the lowest of the paper's ten severities.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

CHAINS = 3
LONGEST = 3  # operations in a chain
LEAST_LEVEL = 0.1  # of an operation; the highest is the severity
LEVELS = 10.0  # severities on the paper's scale

Operation = Callable[[Image.Image, float, np.random.Generator], Image.Image]


def augmix(
    image: Image.Image, to_tensor: Callable[[Image.Image], Tensor], random: np.random.Generator, severity: float = 1.0
) -> Tensor:
    """An RGB image -> its mixture as a tensor (3, H, W).

    Args:
        to_tensor: picture -> (3, H, W), normalised; the mixing is linear, so that its scale does not matter.
        severity: the highest level of an operation, up to 10.
    """
    plain = to_tensor(image)
    weights, share = random.dirichlet([1.0] * CHAINS), random.beta(1.0, 1.0)
    mixed = plain.new_zeros(plain.shape)
    for weight in weights:
        changed = image
        for _ in range(random.integers(1, LONGEST + 1)):
            operation = OPERATIONS[random.integers(len(OPERATIONS))]
            changed = operation(changed, random.uniform(LEAST_LEVEL, severity) / LEVELS, random)
        mixed += float(weight) * to_tensor(changed)
    return float(share) * plain + (1 - float(share)) * mixed


def _autocontrast(image: Image.Image, share: float, random: np.random.Generator) -> Image.Image:
    return ImageOps.autocontrast(image)


def _equalize(image: Image.Image, share: float, random: np.random.Generator) -> Image.Image:
    return ImageOps.equalize(image)


def _posterize(image: Image.Image, share: float, random: np.random.Generator) -> Image.Image:
    return ImageOps.posterize(image, max(1, 4 - int(share * 4)))


def _solarize(image: Image.Image, share: float, random: np.random.Generator) -> Image.Image:
    return ImageOps.solarize(image, 256 - int(share * 256))


def _rotate(image: Image.Image, share: float, random: np.random.Generator) -> Image.Image:
    return image.rotate(_sign(random) * int(share * 30), resample=Image.Resampling.BILINEAR)


def _shear_x(image: Image.Image, share: float, random: np.random.Generator) -> Image.Image:
    return _affine(image, (1, _sign(random) * share * 0.3, 0, 0, 1, 0))


def _shear_y(image: Image.Image, share: float, random: np.random.Generator) -> Image.Image:
    return _affine(image, (1, 0, 0, _sign(random) * share * 0.3, 1, 0))


def _translate_x(image: Image.Image, share: float, random: np.random.Generator) -> Image.Image:
    return _affine(image, (1, 0, _sign(random) * int(share * image.width / 3), 0, 1, 0))


def _translate_y(image: Image.Image, share: float, random: np.random.Generator) -> Image.Image:
    return _affine(image, (1, 0, 0, 0, 1, _sign(random) * int(share * image.height / 3)))


def _affine(image: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, resample=Image.Resampling.BILINEAR)


def _sign(random: np.random.Generator) -> int:
    return 1 if random.random() < 0.5 else -1


OPERATIONS: tuple[Operation, ...] = (
    *(_autocontrast, _equalize, _posterize, _solarize),
    *(_rotate, _shear_x, _shear_y, _translate_x, _translate_y),
)
