"""How far the towers with stand-ins have drifted from the towers as they were loaded (ours; not in the paper of DAS).

    drift = mean over images of 1 - cos(f, f_0)  +  mean over classes of 1 - cos(w, w_0)
with f, w of the towers as DAS has them and f_0, w_0 of those as loaded. A few images of some classes say little about
others; what the whole tower says of these images says more, so a loss with the drift in it serves new classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_prompts import ClassPrompts
from adaptkit.classes.class_set import ClassSet
from adaptkit.classes.class_weights import class_weights


class Drift:
    """The drift on given images and on the classes' hand-written prompts; a tower that does not learn has none.

    Args:
        view: the backbone as DAS hands it on.
        learns_images: whether the view's image tower learns.
    """

    def __init__(self, view: FrozenCLIP, classes: ClassSet, learns_images: bool):
        self.view, self.loaded, self.learns_images = view, view.as_loaded(), learns_images
        self._of_images: tuple[Tensor, int, Tensor] | None = None  # asked for last, their version; as loaded (B, D)
        self.set_classes(classes)

    def set_classes(self, classes: ClassSet) -> None:
        """Measure the drift on other class names from now on; they are encoded when it is first asked for."""
        self._classes = classes
        self._texts: tuple[ClassPrompts, Tensor] | None = None  # as the view has them; as loaded (C, D), unit rows

    def _of_classes(self) -> Tensor:
        if self._texts is None:
            self._texts = ClassPrompts(self.view, self._classes), class_weights(self.loaded, self._classes)
        prompts, loaded_weights = self._texts
        return 1 - (prompts() * loaded_weights).sum(dim=-1).mean()

    @torch.no_grad()
    def _loaded_features(self, images: Tensor) -> Tensor:
        """Those of the images asked for last are kept: the sub-networks of a reward are rated on the same ones."""
        if images.is_inference():  # whether it has been written to is not to be known
            return self.loaded.encode_image(images)
        kept = self._of_images
        if kept is None or kept[0] is not images or kept[1] != images._version:
            kept = self._of_images = images, images._version, self.loaded.encode_image(images)
        return kept[2]

    def __call__(self, images: Tensor, features: Tensor | None) -> Tensor:
        """Images (B, 3, H, W) -> scalar; `features` (B, D) of the view where they are known already."""
        parts: list[Tensor] = []
        if self.learns_images:
            features = self.view.encode_image(images) if features is None else features
            parts.append(1 - F.cosine_similarity(features, self._loaded_features(images), dim=-1).mean())
        if self.view.learns_text:
            parts.append(self._of_classes())
        return torch.stack(parts).sum()
