"""Losses between predictions and targets, and the guard that keeps the pooled feature where it was.

Letters: N masked images, P patches, R = prefix + P rows, D width of the targets.
"""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

Loss = Literal["mse", "l1", "cosine", "kept", "dropped"]


def alignment_loss(
    predictions: Tensor, targets: Tensor, masks: Tensor | None = None, kind: Loss = "mse", *, pair_all: bool = False
) -> Tensor:
    """The loss of predictions (N, R, D) against targets (N, R, D): a scalar.

    Args:
        masks: (N, P), for "kept" and "dropped".
        kind: "mse" and "l1" are means over all elements; "cosine" is 1 less the mean cosine of the tokens; "kept" and
            "dropped" are means of the squared error times m or 1 - m, and count every prefix token.
        pair_all: let targets (N, D) of the class token meet predictions (N, 1, D) as in the released code, where every
            prediction is compared with the targets of all masks.

    Raises:
        ValueError: if shapes differ, or the kind reads masks and there are none.

    Example:
        ```python
        from adaptkit.weights.locality_alignment import alignment_loss

        assert float(alignment_loss(torch.zeros(2, 5, 8), torch.ones(2, 5, 8))) == 1
        ```
    """
    paired = pair_all and predictions.ndim == 3 and targets.ndim == 2
    if predictions.shape != targets.shape and not paired:
        raise ValueError(f"predictions of shape {tuple(predictions.shape)} and targets {tuple(targets.shape)} differ")
    if kind == "cosine":
        return 1 - F.cosine_similarity(predictions, targets, dim=-1).mean()
    if kind == "l1":
        return (predictions - targets).abs().mean()
    errors = (predictions - targets).square()
    if kind == "mse":
        return errors.mean()
    if masks is None:
        raise ValueError(f"the loss {kind!r} counts patches by their masks; give the masks (N, P)")
    weights = masks if kind == "kept" else 1 - masks
    weights = F.pad(weights.to(errors.dtype), (errors.shape[1] - masks.shape[1], 0), value=1.0)
    return (errors * weights[..., None]).mean()


def pooled_guard(student: Tensor, teacher: Tensor) -> Tensor:
    """1 less the mean cosine of pooled features (B, D) before and after: a scalar, 0 where nothing has turned."""
    return 1 - F.cosine_similarity(student, teacher, dim=-1).mean()
