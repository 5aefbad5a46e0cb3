"""Accuracy on pairs of texts: whether an image is nearer to the text that is true of it than to one that is not.

The measure of VL-Checklist (Zhao et al., arXiv:2207.00221) and of other tests of what a model knows beside objects.
"""

import torch.nn.functional as F
from torch import Tensor

from adaptkit.contract.pair_objective import text_is_there


def pair_accuracy(images: Tensor, positives: Tensor, negatives: Tensor) -> float:
    """The share in percent of true texts that are nearer to their image, by cosine, than the false one beside them.

    Equal cosines count against the model. Chance is 50.

    Args:
        images: features (N, D), not normalised.
        positives: features (N, D) of a text that is true of each image.
        negatives: features (N, D) of a text that is not; or (N, n, D), each compared on its own, with zeros for those
            that are missing.

    Raises:
        ValueError: if the shapes do not belong together, or no image has a false text.

    Example:
        ```python
        from trainers.evaluation.pair_tests.each_negative import pair_accuracy

        images = torch.eye(2)
        assert pair_accuracy(images, images, images.flip(0)) == 100
        ```
    """
    negatives = negatives[:, None] if negatives.ndim == 2 else negatives
    if images.ndim != 2 or positives.shape != images.shape or negatives.ndim != 3:
        raise ValueError(
            f"images {tuple(images.shape)}, positives {tuple(positives.shape)} and negatives "
            f"{tuple(negatives.shape)}; expected (N, D), (N, D) and (N, D) or (N, n, D)"
        )
    if len(negatives) != len(images) or negatives.shape[-1] != images.shape[1]:
        raise ValueError(
            f"negatives {tuple(negatives.shape)} beside images {tuple(images.shape)}; expected as many rows, as wide"
        )
    there = text_is_there(negatives)  # (N, n)
    if not there.any():
        raise ValueError("no image has a false text, so there is nothing to compare; give negatives that are not zero")
    images, positives, negatives = (F.normalize(rows.double(), dim=-1) for rows in (images, positives, negatives))
    right = (images * positives).sum(dim=-1, keepdim=True) > (images[:, None] * negatives).sum(dim=-1)
    return 100 * float(right[there].double().mean())
