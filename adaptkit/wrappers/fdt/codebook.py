"""First codebooks: spherical k-means over class texts and training patches, all in CLIP's joint space."""

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 16384  # Points compared with all centroids at a time.


def warm_codebook(class_features: Tensor, patches: Tensor, n_codes: int, iterations: int = 10) -> Tensor:
    """Codes (N, d) of norm sqrt(d): class features and centroids of patches.

    The class features (C, d), or their centroids if they are many, take at most half of the codes; patches (n, d) give
    the rest. If patches are fewer than the codes left, random directions fill up.
    """
    class_codes = spherical_kmeans(class_features, min(len(class_features), n_codes // 2), iterations)
    patch_codes = spherical_kmeans(patches, min(len(patches), n_codes - len(class_codes)), iterations)
    missing = n_codes - len(class_codes) - len(patch_codes)
    directions = random_codebook(missing, class_features)
    codes = torch.cat([class_codes, patch_codes, F.normalize(directions, dim=-1)])
    return codes * codes.shape[-1] ** 0.5


def random_codebook(n_codes: int, like: Tensor) -> Tensor:
    """Codes (N, d) drawn from N(0, 1) by torch's global generator; d is the width of `like`."""
    return torch.randn(n_codes, like.shape[-1]).to(like)


@torch.no_grad()
def spherical_kmeans(points: Tensor, k: int, iterations: int = 10) -> Tensor:
    """Centroids (k, d), unit rows, of the directions of points (n, d); the points themselves if k is n.

    It starts from k of the points, drawn by torch's global generator. A centroid that is nearest to no point stays.

    Raises:
        ValueError: if k is more than n.
    """
    if k > len(points):
        raise ValueError(f"{k} centroids of {len(points)} points; ask for at most as many")
    points = F.normalize(points, dim=-1)
    if k == len(points):
        return points
    centroids = points[torch.randperm(len(points))[:k].to(points.device)]
    for _ in range(iterations):
        nearest = torch.cat([(part @ centroids.T).argmax(dim=-1) for part in points.split(CHUNK)])
        total = torch.zeros_like(centroids).index_add_(0, nearest, points)
        norm = total.norm(dim=-1, keepdim=True)
        centroids = torch.where(norm > 0, total / norm.clamp(min=torch.finfo(norm.dtype).tiny), centroids)
    return centroids
