"""Another size of images for a loaded model: positions are interpolated, and the preprocessing follows.

Positions of open_clip's own towers are interpolated as open_clip does when it loads weights into a model of another
size (bicubic, with anti-aliasing); timm's towers resize themselves.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.model import CLIP, CustomTextCLIP
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

ImageSize = int | tuple[int, int]  # Side of a square, or height and width, in pixels.
STRIDE_OF_CONVOLUTIONS = 32  # Of ResNets and their kin, from an image to the last map.
LARGEST = 4096


def set_image_size(model: CLIP | CustomTextCLIP, image_size: ImageSize) -> tuple[int, int] | None:
    """Let a model take images of another size, in place.

    Returns:
        Height and width, or None if the model has that size already.

    Raises:
        ValueError: if the size is none, is not a multiple of the patch, or the image tower cannot change it.
    """
    height, width = _checked(image_size)
    visual: Any = model.visual
    before = visual.image_size if isinstance(visual.image_size, tuple) else (visual.image_size,) * 2
    if (height, width) == tuple(before):
        return None
    if isinstance(visual, VisionTransformer):
        _divide(visual.patch_size, height, width)
        grid = (height // visual.patch_size[0], width // visual.patch_size[1])
        visual.positional_embedding = _interpolated(visual.positional_embedding, visual.grid_size, grid)
        visual.grid_size = grid
    elif isinstance(visual, ModifiedResNet):
        _divide((STRIDE_OF_CONVOLUTIONS,) * 2, height, width)
        old, new = ((h // STRIDE_OF_CONVOLUTIONS, w // STRIDE_OF_CONVOLUTIONS) for h, w in (before, (height, width)))
        visual.attnpool.positional_embedding = _interpolated(visual.attnpool.positional_embedding, old, new)
    else:
        _resize_timm(visual, height, width)
    visual.image_size = (height, width)
    facts: Mapping[str, object] | None = getattr(visual, "preprocess_cfg", None)
    if facts is not None:
        visual.preprocess_cfg = {**facts, "size": (height, width)}
    return height, width


def _checked(image_size: ImageSize) -> tuple[int, int]:
    sides = image_size if isinstance(image_size, tuple | list) else (image_size, image_size)
    whole = all(isinstance(side, int) and not isinstance(side, bool) for side in sides)
    if len(sides) != 2 or not whole or not all(0 < side <= LARGEST for side in sides):
        raise ValueError(
            f"image_size={image_size!r}; expected a side in pixels, 1 to {LARGEST}, or a pair of height and width"
        )
    return sides[0], sides[1]


def _divide(patch: tuple[int, int], height: int, width: int) -> None:
    """Refuse sides that patches do not fill."""
    for side, length in ((height, patch[0]), (width, patch[1])):
        if side % length:
            lower, upper = side // length * length, (side // length + 1) * length
            near = f"{lower} and {upper}" if lower else f"{upper}"
            raise ValueError(
                f"an image side of {side} pixels is no multiple of the image tower's patch, {length} pixels; "
                f"the nearest sides are {near}"
            )


@torch.no_grad()
def _interpolated(positions: nn.Parameter, old: tuple[int, int], new: tuple[int, int]) -> nn.Parameter:
    """Positions (1 + P, D) of a class token and a grid of patches, for another grid."""
    token, patches = positions[:1], positions[1:]
    grid = patches.float().reshape(1, *old, -1).permute(0, 3, 1, 2)  # (1, D, rows, columns)
    grid = F.interpolate(grid, size=new, mode="bicubic", antialias=True, align_corners=False)
    resized: Tensor = grid.permute(0, 2, 3, 1).reshape(new[0] * new[1], -1).to(positions.dtype)
    return nn.Parameter(torch.cat([token, resized]), requires_grad=positions.requires_grad)


def _resize_timm(visual: TimmModel, height: int, width: int) -> None:
    trunk: Any = visual.trunk
    embed: Any = getattr(trunk, "patch_embed", None)
    stride = embed.feat_ratio() if hasattr(embed, "feat_ratio") else STRIDE_OF_CONVOLUTIONS
    _divide(stride if isinstance(stride, tuple) else (stride, stride), height, width)
    if not hasattr(trunk, "set_input_size"):  # Convolutions alone take any size.
        if embed is not None:
            raise ValueError(f"the image tower, timm's {type(trunk).__name__}, cannot take images of another size")
        return
    try:
        trunk.set_input_size((height, width))
    except (AttributeError, AssertionError, TypeError, RuntimeError) as error:
        raise ValueError(
            f"the image tower, timm's {type(trunk).__name__}, cannot take images of {height} x {width} pixels: {error}"
        ) from error
