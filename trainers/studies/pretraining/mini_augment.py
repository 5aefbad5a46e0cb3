"""Training views of drawings: one warp, on a whole batch, from 64 px with transparency to 48 px on a background.

Drawings are premultiplied by their alpha, so that resampling does not bleed the colour of transparent pixels and a
colour matrix acts on drawing and cover alike.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from datasets_fewshot.images.transforms import CLIP_MEAN, CLIP_STD

LUMA = (0.299, 0.587, 0.114)


def on_white(rgba: Tensor, size: int) -> Tensor:
    """Turn drawings (B, 64, 64, 4) uint8 into images (B, 3, size, size), as the evaluation transform does."""
    drawing = _premultiplied(rgba)
    image = drawing[:, :3] + (1 - drawing[:, 3:])
    image = F.interpolate(image, size=(size, size), mode="bicubic", antialias=True, align_corners=False)
    return _normalised(image.clamp(0, 1))


def random_views(rgba: Tensor, mono: Tensor, flippable: Tensor, size: int) -> Tensor:
    """One random view of each drawing: (B, 3, size, size), normalised.

    Args:
        rgba: (B, 64, 64, 4) uint8, straight alpha.
        mono: (B,) bool, marks drawings of one colour, which are recoloured.
        flippable: (B,) bool, marks drawings that mean the same when mirrored.
    """
    drawing = F.grid_sample(_premultiplied(rgba), _warps(flippable, size), align_corners=False)  # (B, 4, size, size)
    colour, cover = drawing[:, :3], drawing[:, 3:]
    background = _backgrounds(len(rgba), size)
    stroke = _strokes(background)
    colour = torch.where(mono[:, None, None, None], stroke * cover, _recoloured(colour, cover))
    image = colour + (1 - cover) * background
    image = torch.where(_chosen(len(image), 0.08)[:, None, None, None], _blurred(image), image)
    image = image + 0.03 * torch.rand(len(image), 1, 1, 1) ** 2 * torch.randn_like(image)
    return _normalised(image.clamp(0, 1))


def _premultiplied(rgba: Tensor) -> Tensor:
    planes = rgba.permute(0, 3, 1, 2).float() / 255  # (B, 4, 64, 64)
    return torch.cat([planes[:, :3] * planes[:, 3:], planes[:, 3:]], dim=1)


def _normalised(image: Tensor) -> Tensor:
    return (image - torch.tensor(CLIP_MEAN)[:, None, None]) / torch.tensor(CLIP_STD)[:, None, None]


def _chosen(count: int, share: float) -> Tensor:
    return torch.rand(count) < share


def _uniform(count: int, low: float, high: float) -> Tensor:
    return torch.empty(count).uniform_(low, high)


def _warps(flippable: Tensor, size: int) -> Tensor:
    """Sampling grids (B, size, size, 2): rotation, stretch, shear, shift and a smooth bend."""
    count = len(flippable)
    angle = torch.randn(count).clamp(-2.5, 2.5) * math.radians(5)
    zoom = _uniform(count, 0.92, 1.25)  # above 1, the drawing shrinks
    stretch = _uniform(count, -0.08, 0.08).exp()
    mirror = 1 - 2 * (_chosen(count, 0.4) & flippable).float()
    shear = _uniform(count, -0.06, 0.06)
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    shift = 0.07 * (2 * torch.rand(count, 2) - 1) * zoom[:, None]
    across = torch.stack([mirror * stretch * cos, mirror * (shear - sin), shift[:, 0]], dim=1)
    down = torch.stack([sin + shear, cos / stretch, shift[:, 1]], dim=1)
    grid = F.affine_grid(torch.stack([across, down], dim=1), [count, 1, size, size], align_corners=False)
    bend = 0.06 * torch.rand(count, 1, 1, 1) * torch.randn(count, 2, 4, 4)
    return grid + F.interpolate(bend, size=(size, size), mode="bilinear", align_corners=True).permute(0, 2, 3, 1)


def _recoloured(colour: Tensor, cover: Tensor) -> Tensor:
    """Random contrast, brightness, saturation and hue of premultiplied colours (B, 3, H, W)."""
    count = len(colour)
    luma = torch.tensor(LUMA).expand(3, 3)
    saturation = _uniform(count, 0.6, 1.3)
    saturation[_chosen(count, 0.04)] = 0.0
    saturation = saturation[:, None, None]
    matrix = saturation * torch.eye(3) + (1 - saturation) * luma
    matrix = matrix @ _hue_turn(torch.randn(count) * 0.12)
    contrast = _uniform(count, 0.75, 1.2)[:, None, None]
    offset = (0.5 * (1 - contrast) + _uniform(count, -0.08, 0.08)[:, None, None])[..., None]
    turned = torch.einsum("bij,bjhw->bihw", contrast * matrix, colour) + offset * cover
    return torch.minimum(turned.clamp(min=0), cover)


def _hue_turn(angle: Tensor) -> Tensor:
    """Rotations (B, 3, 3) of colour space about the grey axis by `angle` (B,), in radians."""
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    across = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
    return cos * torch.eye(3) + sin * across + (1 - cos) / 3


def _backgrounds(count: int, size: int) -> Tensor:
    """Backgrounds (B, 3, size, size): two thirds white, the others one random colour or a blend of four."""
    corners = torch.rand(count, 3, 2, 2)
    corners = torch.where(_chosen(count, 0.5)[:, None, None, None], corners, corners[:, :, :1, :1])
    corners = torch.where(_chosen(count, 0.3)[:, None, None, None], 0.75 + 0.25 * corners, corners)
    corners = torch.where(_chosen(count, 0.67)[:, None, None, None], torch.ones(()), corners)
    return F.interpolate(corners, size=(size, size), mode="bilinear", align_corners=True)


def _strokes(background: Tensor) -> Tensor:
    """Stroke colours (B, 3, 1, 1) that stand out from their background: dark on light ones, light on dark ones."""
    count = len(background)
    brightness = torch.einsum("c,bchw->b", torch.tensor(LUMA), background) / background[0, 0].numel()
    random = torch.rand(count, 3) * (torch.rand(count, 1) < 0.5)
    stroke = torch.where((brightness > 0.5)[:, None], 0.5 * random, 1 - 0.5 * random)
    return stroke[:, :, None, None]


def _blurred(image: Tensor) -> Tensor:
    half = F.avg_pool2d(image, 2)
    return F.interpolate(half, size=image.shape[-2:], mode="bilinear", align_corners=False)
