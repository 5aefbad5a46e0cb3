"""Class weights from names and templates: CLIP's zero-shot classifier (Radford et al., arXiv:2103.00020)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_set import ClassSet


def class_weights(backbone: FrozenCLIP, classes: ClassSet) -> Tensor:
    """The zero-shot classifier (C, D), unit rows.

    One template: the normalised text feature. Several, or several sentences of a class: the mean of the normalised
    features, normalised again.

    Example:
        ```python
        backbone = adaptkit.load_backbone("adaptkit-mini")
        weights = adaptkit.class_weights(backbone, adaptkit.ClassSet(("corgi", "husky")))  # (2, D)
        image_features = backbone.encode_image(torch.rand(4, 3, 48, 48))
        logits = backbone.logits(image_features, weights)  # (4, 2)
        ```
    """
    if classes.sentences is not None:
        with torch.no_grad():
            return mean_of_sentences(backbone.encode_text([text for own in classes.texts for text in own]), classes)
    per_template = torch.stack(
        [F.normalize(template_features(backbone, classes, template), dim=-1) for template in classes.templates]
    )  # (templates, C, D)
    if len(per_template) == 1:
        return per_template[0]
    return F.normalize(per_template.mean(dim=0), dim=-1)


def mean_of_sentences(features: Tensor, classes: ClassSet) -> Tensor:
    """Text features (N, D) of the sentences of all classes, class by class -> class weights (C, D), unit rows."""
    counts = torch.tensor([len(own) for own in classes.texts], device=features.device)
    owners = torch.arange(len(counts), device=features.device).repeat_interleave(counts)  # (N,)
    unit = F.normalize(features, dim=-1)
    total = unit.new_zeros(len(counts), unit.shape[1]).index_add(0, owners, unit)
    return F.normalize(total / counts[:, None], dim=-1)


def template_features(backbone: FrozenCLIP, classes: ClassSet, template: str) -> Tensor:
    """Text features (C, D) of one template, not normalised and without gradients."""
    with torch.no_grad():
        return backbone.encode_text([template.format(name) for name in classes.readable])
