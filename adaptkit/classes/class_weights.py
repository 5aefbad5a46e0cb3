"""Class weights from names and templates: CLIP's zero-shot classifier (Radford et al., arXiv:2103.00020)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_set import ClassSet


def class_weights(backbone: FrozenCLIP, classes: ClassSet) -> Tensor:
    """The zero-shot classifier (C, D), unit rows.

    One template: the normalised text feature. Several: the mean of the normalised features, normalised again.

    Example:
        ```python
        backbone = adaptkit.load_backbone("adaptkit-mini")
        weights = adaptkit.class_weights(backbone, adaptkit.ClassSet(("corgi", "husky")))  # (2, D)
        image_features = backbone.encode_image(torch.rand(4, 3, 48, 48))
        logits = backbone.logits(image_features, weights)  # (4, 2)
        ```
    """
    per_template = torch.stack(
        [F.normalize(template_features(backbone, classes, template), dim=-1) for template in classes.templates]
    )  # (templates, C, D)
    if len(per_template) == 1:
        return per_template[0]
    return F.normalize(per_template.mean(dim=0), dim=-1)


def template_features(backbone: FrozenCLIP, classes: ClassSet, template: str) -> Tensor:
    """Text features (C, D) of one template, not normalised and without gradients."""
    with torch.no_grad():
        return backbone.encode_text([template.format(name) for name in classes.readable])
