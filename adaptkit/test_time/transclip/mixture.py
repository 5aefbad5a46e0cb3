"""The Gaussians of the classes in TransCLIP: unit means and one diagonal of variances that all classes share.

Zanella et al., "Boosting Vision-Language Models with Transduction", arXiv:2406.01837; N images q_i that belong to class
c by z_ic, n(.) a vector over its length:
    g_ic     = -1/2 sum_j (q_ij - mu_cj)^2 / sigma^2_j                                (the determinant is left out)
    mu_c     = n( sum_i z_ic q_i / sum_i z_ic )
    sigma^2  = sum_ic z_ic (q_i - mu_c)^2 / sum_ic z_ic
All sums are products of matrices of what the squares expand to, so nothing is as large as N x C x D. The mean of all
images is taken off first, because differences of the expanded squares lose digits to what all images have in common.

Letters: N images, C classes, D width of a feature.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST_MASS = 1e-30  # sum_i z_ic of a class whose mean is computed; below it, the class keeps the mean that it has
LEAST_VARIANCE = 1e-12  # of a coordinate, so that images which are all equal divide by something
FIRST_IMAGES = 8  # that the first mean of a class is made of


def scores(features: Tensor, means: Tensor, variances: Tensor) -> Tensor:
    """g (N, C): log-densities but for a constant, of features (N, D) for means (C, D) and variances (D,)."""
    narrow = variances.rsqrt()
    images, classes = features * narrow, means * narrow
    found = images @ classes.T
    found -= 0.5 * images.square().sum(dim=1, keepdim=True)
    found -= 0.5 * classes.square().sum(dim=1)
    return found


def first_means(features: Tensor, log_z: Tensor) -> Tensor:
    """Unit means (C, D) of the images that are likeliest of each class, weighted by how likely they are."""
    log_weight, images = log_z.topk(min(FIRST_IMAGES, len(log_z)), dim=0)  # (8, C)
    weight = (log_weight - log_weight[:1]).exp()  # relative: the scale goes with the length
    means = torch.zeros(log_z.shape[1], features.shape[1], dtype=features.dtype, device=features.device)
    for share, image in zip(weight, images, strict=True):
        means += share[:, None] * features[image]
    return F.normalize(means, dim=-1)


def class_sums(features: Tensor, labels: Tensor, n_classes: int) -> tuple[Tensor, Tensor]:
    """Sums (C, D) of the features (S, D) of each class, and how many they are, (C,)."""
    sums = features.new_zeros(n_classes, features.shape[1]).index_add_(0, labels, features)
    return sums, torch.bincount(labels, minlength=n_classes).to(features)


def unit_means(sums: Tensor, mass: Tensor, centre: Tensor, before: Tensor) -> Tensor:
    """Unit means (C, D) from weighted sums (C, D) of features less `centre` (D,) and their weights (C,).

    A class whose weights sum to less than `LEAST_MASS` keeps its mean of before, where a quotient would be no number.
    """
    has_mass = (mass > LEAST_MASS)[:, None]
    found = F.normalize(sums / torch.where(has_mass, mass[:, None], 1.0) + centre, dim=-1)
    return torch.where(has_mass, found, before)


def shared_variances(sums: Tensor, mass: Tensor, squares: Tensor, means: Tensor) -> Tensor:
    """Variances (D,) around means (C, D), of weighted sums (C, D), weights (C,), and weighted sums of squares (D,).

    All are of features less the same centre, and so are the means.
    """
    total = squares - 2 * (means * sums).sum(dim=0) + mass @ means.square()
    return (total / mass.sum()).clamp(min=LEAST_VARIANCE)
