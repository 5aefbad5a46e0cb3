"""The model as it stood before a training, beside the one that learns: both share the frozen backbone."""

from collections.abc import Sequence

import torch
from torch import Tensor

from adaptkit.classes.class_set import NO_CLASSES
from adaptkit.contract.adapted_towers import AdaptedTowers
from adaptkit.contract.batches import PairText
from adaptkit.contract.creation import create_method
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.pair_objective import image_features, text_features


class OldModel:
    """A method as it stands now, which never changes.

    It is no module, so whoever holds it neither steps nor saves it, and does not put it into training mode.

    Args:
        method: one that `create_method` made.

    Raises:
        ValueError: if the method was made in another way, so that nobody knows how to make one like it.
    """

    def __init__(self, method: AdaptedTowers):
        self.method = _copy(method)

    def image_rows(self, method: AdaptedTowers, images: Tensor) -> Tensor:
        """Image features now and then: (B, 2, D), not normalised.

        Args:
            method: the method that learns.
            images: (B, 3, H, W); frozen features (B, D) as `pair_objective.image_features` takes them; or such rows of
                a side that does not learn.
        """
        if images.ndim == 3:
            return images
        current = image_features(method, images)
        with torch.no_grad():
            old = image_features(self.method, images)
        return torch.stack((current, old.to(current)), dim=1)

    def text_rows(self, method: AdaptedTowers, texts: Sequence[PairText] | Tensor) -> Tensor:
        """Text features now and then, alike: (B, 2, D)."""
        if isinstance(texts, Tensor) and texts.ndim == 3:
            return texts
        current = text_features(method, texts)
        with torch.no_grad():
            old = text_features(self.method, texts)
        return torch.stack((current, old.to(current)), dim=1)


def _copy(method: AdaptedTowers) -> AdaptedCLIP:
    """A method like it on the same frozen weights, with its learnt tensors, in eval mode and without gradients."""
    spec = method.spec
    if spec is None:
        raise ValueError(
            f"this {type(method).__name__} was not made by create_method, so no copy of it as it stands can be made; "
            "make it by name"
        )
    classes = None if method.classes is NO_CLASSES else method.classes
    frozen = method.backbone.as_loaded()
    devices = [method.device] if method.device.type == "cuda" else []
    with torch.random.fork_rng(devices):  # its learnt tensors start at random and are replaced at once
        old = create_method(spec.name, frozen, classes, spec.config, wrap=spec.wrappers).to(method.device)
    old.load_learnt_state(method.learnt_state())
    for parameter in old.learnt_parameters().values():
        parameter.requires_grad_(False)
    return old.eval()
