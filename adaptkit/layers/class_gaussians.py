"""Gaussians of classes with one covariance: sums over images, precisions, and the linear classifier that they give.

Wang et al., "A Hard-to-Beat Baseline for Training-free CLIP-based Adaptation", arXiv:2402.04087. For unit features f of
C classes with means mu_c and one precision P (D, D), and equal priors:
    W = M P with rows mu_c of M,    b_c = -ln C - mu_c P mu_c / 2,    log p(c | f) = f . W_c + b_c + what all share
Here P is that of the pooled covariance with shrinkage; `novel_gaussians` has the other one. All is in float64.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from adaptkit.artefacts.tensors import check_dtype

# Mean squared distance of unit features from their class means that is rounding of float32, and no covariance.
NO_SPREAD = 1e-12


class ClassGaussians(nn.Module):
    """Means (C, D) of classes and their pooled covariance (D, D), from images that may come in any number of parts.

    A part is forgotten as soon as it is added, so memory does not grow with the images.

    Args:
        n_classes: number of classes C.
        width: length D of a feature.

    Example:
        ```python
        import torch
        from adaptkit.layers.class_gaussians import ClassGaussians

        features, labels = torch.nn.functional.normalize(torch.randn(1000, 64), dim=-1), torch.arange(1000) % 10
        gaussians = ClassGaussians(10, 64)
        for part, of in zip(features.split(256), labels.split(256)):
            gaussians.add(part, of)
        assert torch.allclose(gaussians.means[3].float(), features[labels == 3].mean(dim=0))
        ```
    """

    counts: Tensor
    means: Tensor
    covariance: Tensor

    def __init__(self, n_classes: int, width: int, device: torch.device | None = None):
        super().__init__()
        self.register_buffer("counts", torch.zeros(n_classes, dtype=torch.int64, device=device))
        self.register_buffer("means", torch.zeros(n_classes, width, dtype=torch.float64, device=device))
        self.register_buffer("covariance", torch.zeros(width, width, dtype=torch.float64, device=device))

    @torch.no_grad()
    def add(self, features: Tensor, labels: Tensor) -> None:
        """Take features (N, D) with labels (N,) into the sums; `covariance` has the divisor N of all images so far."""
        x, labels = features.to(self.means), labels.to(self.counts)
        counts, before = torch.bincount(labels, minlength=len(self.counts)), self.counts
        means = torch.zeros_like(self.means).index_add(0, labels, x) / counts.clamp(min=1)[:, None]
        centred, gaps = x - means[labels], means - self.means
        total = before + counts
        shared = before * counts / total.clamp(min=1)  # (C,), how much of a gap between means is covariance
        scatter = self.covariance * before.sum() + centred.T @ centred + (gaps.T * shared) @ gaps
        self.means += gaps * (counts / total.clamp(min=1))[:, None]
        self.counts = total
        self.covariance = scatter / total.sum().clamp(min=1)

    def classifier(self, classnames: Sequence[str], text_weights: Tensor) -> tuple[Tensor, Tensor]:
        """W (C, D) and b (C,) of the shrunk pooled covariance, whatever the names and texts of the classes.

        A class without images takes the mean of the other classes' means, so that it is neither near nor far. Without
        any image both are zeros.
        """
        count, seen = int(self.counts.sum()), self.counts > 0
        if not count:
            return torch.zeros_like(self.means), torch.zeros_like(self.means[:, 0])
        unbiased = self.covariance * (count / max(count - 1, 1))
        middle = self.means[seen].sum(dim=0) / seen.sum().clamp(min=1)
        return gaussian_classifier(torch.where(seen[:, None], self.means, middle), shrunk_precision(unbiased, count))

    def state(self) -> dict[str, Tensor]:
        """Copies of counts, means and covariance: all that is kept of the images."""
        return {name: buffer.clone() for name, buffer in self.named_buffers()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take what `state` gave.

        Raises:
            ValueError: if names, shapes or types are others, or a count is below 0.
        """
        check_names_and_types(state, self.state())
        for name, buffer in self.named_buffers():
            if state[name].shape != buffer.shape:
                raise ValueError(f"{name} has shape {tuple(state[name].shape)}; expected {tuple(buffer.shape)}")
        if (state["counts"] < 0).any():
            raise ValueError(f"counts of images reach down to {int(state['counts'].min())}; expected 0 or more")
        for name, buffer in self.named_buffers():
            buffer.copy_(state[name])


def gaussian_classifier(means: Tensor, precision: Tensor, n_classes: int | None = None) -> tuple[Tensor, Tensor]:
    """Means (C, D) and a precision (D, D) -> W (C, D), b (C,) with equal priors.

    Args:
        n_classes: how many classes there are, if these are not all.
    """
    weight = means @ precision
    return weight, -math.log(n_classes or len(means)) - (weight * means).sum(dim=-1) / 2


def shrunk_precision(covariance: Tensor, count: int) -> Tensor:
    """P = D inverse((N - 1) S + tr(S) I) (D, D), the shrinkage of Kubokawa and Srivastava.

    Args:
        covariance: S (D, D) of unit features about their class means, with divisor N - 1.
        count: the number N of features.

    Returns:
        P, or zeros where S is zero, as with one view of one image per class.
    """
    width, trace = len(covariance), covariance.trace()
    if trace <= NO_SPREAD:
        return torch.zeros_like(covariance)
    identity = torch.eye(width, dtype=covariance.dtype, device=covariance.device)
    factor = torch.linalg.cholesky((count - 1) * covariance + trace * identity)
    return width * torch.cholesky_inverse(factor)


def check_names_and_types(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Refuse kept tensors of other names, types or numbers of dimensions.

    Raises:
        ValueError: names what is wrong and what was expected.
    """
    if state.keys() != own.keys():
        raise ValueError(f"learnt tensors {sorted(state)} do not belong here; expected {sorted(own)}")
    for name, tensor in own.items():
        check_dtype(name, state[name], tensor)
        if state[name].ndim != tensor.ndim:
            raise ValueError(f"{name} has {state[name].ndim} dimensions; expected {tensor.ndim}")
