"""Gaussians of classes with images and of classes that only have a name: GDA's base-to-novel form.

Wang et al., "A Hard-to-Beat Baseline for Training-free CLIP-based Adaptation", arXiv:2402.04087. The precision of the
classes with images is the pseudo-inverse of the mean of their covariances. A class that has a text weight w and no
image takes the 64 features nearest to w: its mean is that of those and of 16 copies of w, and its precision the shrunk
one of those about w, averaged over all such classes.
"""

import json
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from adaptkit.layers.class_gaussians import NO_SPREAD, check_names_and_types, gaussian_classifier, shrunk_precision
from adaptkit.layers.text_state import as_tensor, as_text

NEAREST, COPIES = 64, 16


class NamedImages(nn.Module):
    """Unit features (N, D) with labels (N,) of named classes, kept to make classifiers over other names.

    Args:
        classnames: names of the classes that the labels are of.
        like: a tensor with the device and dtype of the features, its last dimension D.
    """

    features: Tensor
    labels: Tensor

    def __init__(self, classnames: Sequence[str], like: Tensor):
        super().__init__()
        self.classnames = tuple(classnames)
        self.register_buffer("features", like.new_zeros(0, like.shape[-1]))
        self.register_buffer("labels", torch.zeros(0, dtype=torch.int64, device=like.device))

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Keep features (N, D) with labels (N,) beside those of before."""
        self.features = torch.cat([self.features, features.to(self.features)])
        self.labels = torch.cat([self.labels, labels.to(self.labels)])

    def classifier(self, classnames: Sequence[str], text_weights: Tensor) -> tuple[Tensor, Tensor]:
        """W (C, D) and b (C,): a class with images by their mean, any other by the images nearest to its text.

        Args:
            classnames: names of C classes, known or not.
            text_weights: their unit class weights (C, D).
        """
        features, weights = self.features.double(), text_weights.double()
        weight, bias = torch.zeros_like(weights), torch.zeros_like(weights[:, 0])
        if not len(features):
            return weight, bias
        counts = torch.bincount(self.labels, minlength=len(self.classnames))
        places = {name: label for label, name in enumerate(self.classnames) if counts[label]}
        known = [row for row, name in enumerate(classnames) if name in places]
        new = [row for row, name in enumerate(classnames) if name not in places]
        if known:
            means = torch.stack([features[self.labels == places[classnames[row]]].mean(dim=0) for row in known])
            precision = mean_precision(features, self.labels, len(self.classnames))
            weight[known], bias[known] = gaussian_classifier(means, precision, len(classnames))
        if new:
            means, precision = new_class_gaussians(weights[new], features)
            weight[new], bias[new] = gaussian_classifier(means, precision, len(classnames))
        return weight, bias

    def state(self) -> dict[str, Tensor]:
        """Copies of the features and labels, and the names as JSON: all that is kept of the images."""
        names = as_tensor(json.dumps(self.classnames)).to(self.labels.device)
        return {"features": self.features.clone(), "labels": self.labels.clone(), "names": names}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take what `state` gave.

        Raises:
            ValueError: if names, shapes or types do not fit, or the tensors do not fit each other.
        """
        check_names_and_types(state, self.state())
        features, labels, width = state["features"], state["labels"], self.features.shape[-1]
        if features.shape != (len(labels), width):
            raise ValueError(f"features have shape {tuple(features.shape)}; expected {(len(labels), width)}")
        names = json.loads(as_text(state["names"]))
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("the names of the classes with images are damaged; save the adapter again")
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(names):
            raise ValueError(
                f"labels reach from {int(labels.min())} to {int(labels.max())}; there are {len(names)} names"
            )
        self.classnames = tuple(names)
        self.features, self.labels = features.to(self.features).clone(), labels.to(self.labels).clone()


def class_covariances(features: Tensor, labels: Tensor, n_classes: int) -> Iterator[Tensor]:
    """Covariances (D, D) with divisor n - 1, class by class; a class of fewer than two features has none."""
    for label in range(n_classes):
        own = features[labels == label]
        if len(own) > 1:
            yield torch.cov(own.T)


def mean_precision(features: Tensor, labels: Tensor, n_classes: int) -> Tensor:
    """P (D, D), the pseudo-inverse of the mean of the classes' covariances, without shrinkage.

    The mean is singular for few images. Directions below D times float32's epsilon of the largest count as none: that
    is the cut-off at the released code's precision, and it is taken at any.
    """
    width, found = features.shape[1], 0
    total = features.new_zeros(width, width)
    for covariance in class_covariances(features, labels, n_classes):
        total, found = total + covariance, found + 1
    mean = total / max(found, 1)
    if mean.trace() <= NO_SPREAD:
        return torch.zeros_like(mean)
    return torch.linalg.pinv(mean, rtol=width * torch.finfo(torch.float32).eps, hermitian=True)


def nearest_features(text_weights: Tensor, features: Tensor, nearest: int = NEAREST) -> Tensor:
    """Places (C, K) of the features (N, D) with the largest products with each text weight (C, D); K is at most N."""
    return (text_weights @ features.T).topk(min(nearest, len(features)), dim=1).indices


def new_class_gaussians(
    text_weights: Tensor, features: Tensor, nearest: int = NEAREST, copies: int = COPIES
) -> tuple[Tensor, Tensor]:
    """Means (C, D) and one precision (D, D) of classes that have a text and no image.

    Args:
        text_weights: unit class weights w (C, D).
        features: unit features (N, D) of images of other classes.
        nearest: features that stand for a class.
        copies: how often w counts in the mean.
    """
    width = features.shape[1]
    means, precision = [], features.new_zeros(width, width)
    for weight, places in zip(text_weights, nearest_features(text_weights, features, nearest), strict=True):
        near = features[places]  # (K, D)
        means.append((near.sum(dim=0) + copies * weight) / (len(near) + copies))
        about = near - weight
        precision = precision + shrunk_precision(about.T @ about / max(len(near) - 1, 1), len(near))
    return torch.stack(means), precision / len(means)
