"""A support set as unit features with a label each, however many views of an image there are."""

import torch.nn.functional as F
from torch import Tensor

from adaptkit.contract.method import Support


def unit_support(support: Support, like: Tensor, n_classes: int) -> tuple[Tensor, Tensor]:
    """Support features (N, D), or (N, V, D) with V views of each image -> unit features (N * V, D), labels (N * V,).

    Args:
        like: a tensor with the device and dtype of the computation, its last dimension D.

    Raises:
        ValueError: if the features have another width or no label each, or a label is none of the C classes.
    """
    x, labels, width = support.x, support.labels, like.shape[-1]
    if x.ndim not in (2, 3) or x.shape[-1] != width or labels.shape != (len(x),):
        raise ValueError(
            f"support features {tuple(x.shape)} with labels {tuple(labels.shape)}; expected (N, {width}) or "
            f"(N, V, {width}) with (N,)"
        )
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < n_classes:
        raise ValueError(
            f"support labels reach from {int(labels.min())} to {int(labels.max())}; there are {n_classes} classes"
        )
    views = x.shape[1] if x.ndim == 3 else 1
    features = F.normalize(x.detach().to(like.device, like.dtype).flatten(0, -2), dim=-1)
    return features, labels.to(like.device).repeat_interleave(views)
