"""Two shapes at random places: drawn images in which every patch has an object, or none, and the image has another too.

A linear probe per patch then tells how far its token knows the shape in that patch, and how far it knows the shape that
is elsewhere in the image, which is leakage. Nothing is read from files; the same seed draws the same images.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

SHAPES = ("circle", "square", "triangle", "cross", "ring", "bar", "diamond", "stairs")
SIDE = 48  # pixels of an image
CELL = 16  # pixels of the square that a shape is drawn in
SAMPLES = 4  # points a pixel side, for smooth edges


@dataclass(frozen=True)
class ShapePairs:
    """Images (N, 3, 48, 48) in 0 to 1 with two different shapes each: what they are, and where."""

    images: Tensor
    shapes: Tensor  # (N, 2) int64, places in SHAPES
    corners: Tensor  # (N, 2, 2) int64, row and column of the top left pixel

    def inside(self, grid: tuple[int, int]) -> Tensor:
        """For each shape, whether a patch lies in it at least by half: (N, 2, P) bool."""
        rows, columns = grid
        height, width = SIDE / rows, SIDE / columns
        top = torch.arange(rows)[None, None, :, None] * height
        left = torch.arange(columns)[None, None, None, :] * width
        corner = self.corners[..., None, None].float()
        over = _overlap(corner[:, :, 0], top, height) * _overlap(corner[:, :, 1], left, width)
        return (over >= 0.5 * height * width).flatten(2)


def _overlap(start: Tensor, place: Tensor, length: float) -> Tensor:
    """Length that [start, start + CELL] and [place, place + length] have in common."""
    return (torch.minimum(start + CELL, place + length) - torch.maximum(start, place)).clamp(min=0)


def draw_shape_pairs(count: int, seed: int) -> ShapePairs:
    """So many images of two different shapes that do not touch, in random colours on a random pale ground."""
    generator = torch.Generator().manual_seed(seed)
    shapes = torch.stack([torch.randperm(len(SHAPES), generator=generator)[:2] for _ in range(count)])
    corners = torch.stack([_apart(generator) for _ in range(count)])
    ground = 0.75 + 0.25 * torch.rand(count, 3, 1, 1, generator=generator)
    images = ground.repeat(1, 1, SIDE, SIDE)
    stencils = torch.stack([_stencil(name) for name in SHAPES])  # (S, CELL, CELL)
    for number in range(count):
        for shape, (row, column) in zip(shapes[number].tolist(), corners[number].tolist(), strict=True):
            colour = 0.6 * torch.rand(3, 1, 1, generator=generator)
            place = images[number, :, row : row + CELL, column : column + CELL]
            place += stencils[shape] * (colour - place)
    return ShapePairs(images, shapes, corners)


def _apart(generator: torch.Generator) -> Tensor:
    """Corners (2, 2) of two squares that do not touch."""
    while True:
        corners = torch.randint(SIDE - CELL + 1, (2, 2), generator=generator)
        if (corners[0] - corners[1]).abs().max() > CELL:
            return corners


def _stencil(name: str) -> Tensor:
    """How much of each pixel a shape covers: (CELL, CELL), 0 to 1."""
    steps = (torch.arange(CELL * SAMPLES) + 0.5) / (CELL * SAMPLES) * 2 - 1  # -1 to 1
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    radius, far = (x.square() + y.square()).sqrt(), torch.maximum(x.abs(), y.abs())
    covered = {
        "circle": radius < 0.9,
        "square": far < 0.8,
        "triangle": (y < 0.85) & (x.abs() < (y + 0.9) / 2),
        "cross": (torch.minimum(x.abs(), y.abs()) < 0.25) & (far < 0.9),
        "ring": (radius < 0.9) & (radius > 0.5),
        "bar": (y.abs() < 0.3) & (x.abs() < 0.95),
        "diamond": x.abs() + y.abs() < 0.9,
        "stairs": (y > -x) & (far < 0.85) & (torch.floor((x + 1) * 2) + torch.floor((y + 1) * 2) >= 4),
    }[name]
    return covered.float().reshape(CELL, SAMPLES, CELL, SAMPLES).mean(dim=(1, 3))


def chance() -> float:
    """Accuracy in percent of a guess among the shapes."""
    return 100 / len(SHAPES)
