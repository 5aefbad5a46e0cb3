"""Drift: the distance of towers with stand-ins from the towers as loaded (ours; not in the paper of DAS).

    drift = mean over images of 1 - cos(f, f_0)  +  mean over classes of 1 - cos(w, w_0)
with f, w from the towers under DAS and f_0, w_0 from the towers as loaded. A few images of some classes say little of
other classes; the whole tower's output on these images says more, so a loss with the drift in it serves new classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_prompts import ClassPrompts
from adaptkit.classes.class_set import ClassSet
from adaptkit.classes.class_weights import class_weights


class Drift:
    """The drift on given images and on the classes' hand-written prompts, for the towers that learn.

    Args:
        view: the backbone that DAS passes to the inner method.
        learns_images: whether the view's image tower learns.
    """

    def __init__(self, view: FrozenCLIP, classes: ClassSet, learns_images: bool):
        self.view, self.loaded, self.learns_images = view, view.as_loaded(), learns_images
        # The last images, their version, and their features (B, D) as loaded.
        self._of_images: tuple[Tensor, int, Tensor] | None = None
        self.set_classes(classes)

    def set_classes(self, classes: ClassSet) -> None:
        """Measure the drift on other class names; they are encoded at their first use."""
        self._classes = classes
        # Prompts of the view, and class weights (C, D) as loaded, unit rows.
        self._texts: tuple[ClassPrompts, Tensor] | None = None

    def _of_classes(self) -> Tensor:
        if self._texts is None:
            self._texts = ClassPrompts(self.view, self._classes), class_weights(self.loaded, self._classes)
        prompts, loaded_weights = self._texts
        return 1 - (prompts() * loaded_weights).sum(dim=-1).mean()

    @torch.no_grad()
    def _loaded_features(self, images: Tensor) -> Tensor:
        """Features (B, D) as loaded; those of the last images are kept, as a reward rates many sub-networks on them."""
        if images.is_inference():  # Inference tensors have no version counter.
            return self.loaded.encode_image(images)
        kept = self._of_images
        if kept is None or kept[0] is not images or kept[1] != images._version:
            kept = self._of_images = images, images._version, self.loaded.encode_image(images)
        return kept[2]

    def __call__(self, images: Tensor, features: Tensor | None) -> Tensor:
        """The drift on images (B, 3, H, W), a scalar; `features` (B, D) are the view's, if known already."""
        parts: list[Tensor] = []
        if self.learns_images:
            features = self.view.encode_image(images) if features is None else features
            parts.append(1 - F.cosine_similarity(features, self._loaded_features(images), dim=-1).mean())
        if self.view.learns_text:
            parts.append(self._of_classes())
        return torch.stack(parts).sum()
