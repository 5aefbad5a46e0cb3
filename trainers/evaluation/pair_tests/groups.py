"""Two images and two texts: which text is each image's, which image is each text's, and both."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.evaluation.pair_tests.cosines import beats, checked, cosine


@dataclass(frozen=True)
class GroupOutcomes:
    """Outcomes of P groups of two images and two texts; ties are errors."""

    text: Tensor  # (P,) bool, each image is nearer to its own text
    image: Tensor  # (P,) bool, each text is nearer to its own image
    group: Tensor  # (P,) bool, both


@torch.no_grad()
def group_outcomes(image_features: Tensor, text_features: Tensor) -> GroupOutcomes:
    """Winoground's three scores, item by item.

    Thrush et al., "Winoground: Probing Vision and Language Models for Visio-Linguistic Compositionality",
    arXiv:2204.03162. At random a text score or an image score is 25 %, a group score 16.7 %.

    Args:
        image_features: (P, 2, D), not normalised.
        text_features: (P, 2, D), the text of each image.

    Raises:
        ValueError: if shapes differ or are others, or a number is not finite.
    """
    images, texts = checked(
        "image_features", "text_features", image_features=image_features, text_features=text_features
    )
    if images.ndim != 3 or images.shape[1] != 2:
        raise ValueError(f"image_features has shape {tuple(images.shape)}; expected (groups, 2, width)")
    own = cosine(images, texts)  # (P, 2) of image and text that belong together
    other = cosine(images, texts.flip(1))  # (P, 2) of image 1 with text 2, and image 2 with text 1
    text = beats(own, other).all(dim=1)
    image = beats(own, other.flip(1)).all(dim=1)
    return GroupOutcomes(text, image, text & image)
