"""The three kinds of input that a method can consume, and the way from one to another.

A kind says how far an image has been computed before the method sees it: not at all, up to the output rows of the
image tower's last block, or up to the frozen feature. Rows become features and images become either; there is no way
back.
"""

from typing import Literal

from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP

# "features" (B, D) where the image tower is untouched; "tokens" (B, 1 + P, D_v), the output rows of its last block with
# the class token's first, where patches are read as well; else "images" (B, 3, H, W), preprocessed.
Consumes = Literal["features", "tokens", "images"]


def convert(backbone: FrozenCLIP, x: Tensor, given: Consumes, wanted: Consumes) -> Tensor:
    """Input of one kind as input of another.

    Args:
        x: images (B, 3, H, W), output rows (..., 1 + P, D_v) or features (..., D), as `given` says.

    Raises:
        ValueError: if there is no way from `given` to `wanted`.
    """
    if given == wanted:
        return x
    if given == "images":
        return backbone.encode_image(x) if wanted == "features" else backbone.encode_tokens(x)
    if given == "tokens" and wanted == "features":
        return backbone.project_tokens(x[..., 0, :])
    raise ValueError(f"{given} cannot be turned into {wanted}; give images")
