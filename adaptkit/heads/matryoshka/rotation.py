"""The map that orders CLIP's coordinates, so that prefixes of them are good representations.

CLIP's coordinates stand in no order. One matrix R (D, D) for both towers, or one for each, comes before the cut:
    zi = f R,   zt = g R,   z[:m] brought to unit length
R starts at the eigenvectors of the second moments of images and texts, in the order of their eigenvalues (PCA). It is
orthogonal, so that at m = D all similarities are CLIP's own.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.heads.matryoshka.losses import fixed_signs
from adaptkit.layers.full_precision import at_least_fp32


def pca(image_features: Tensor, text_features: Tensor) -> Tensor:
    """R (D, D): directions of image features (N, D) and text features (M, D), the strongest first.

    Both sides count the same, however many there are, and every feature has unit length.
    """
    moments = [
        unit.T @ unit / len(unit) for unit in (F.normalize(x.double(), dim=-1) for x in (image_features, text_features))
    ]
    directions = torch.linalg.eigh((moments[0] + moments[1]) / 2).eigenvectors.flip(1)
    return fixed_signs(directions).to(at_least_fp32(image_features))


def orthogonality(rotation: Tensor) -> Tensor:
    """|R^T R - I|_F^2 of R (D, D)."""
    return (rotation.T @ rotation - torch.eye(len(rotation)).to(rotation)).square().sum()


def distillation(before: Tensor, after: Tensor) -> Tensor:
    """KL(softmax(before) || softmax(after)) of logits (B, C), the mean over rows; `before` is a fixed target."""
    return F.kl_div(
        after.log_softmax(dim=-1), before.detach().log_softmax(dim=-1), log_target=True, reduction="batchmean"
    )
