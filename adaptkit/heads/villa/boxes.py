"""Boxes of regions as shares of an image: x0, y0, x1, y1 from 0 to 1, whatever its size is."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

GRID = (1, 2, 3)  # sides of the grids that stand in for a proposer of regions: 1 + 4 + 9 boxes


def grid_boxes(sides: Sequence[int] = GRID) -> Tensor:
    """Boxes (R, 4) of square grids over the whole image, grid after grid, each row by row.

    Args:
        sides: boxes along each side of every grid; (1, 2, 3) gives 14 boxes, of which the first is the whole image.

    Raises:
        ValueError: if there is no grid, or one without boxes.

    Example:
        ```python
        from adaptkit.heads.villa import grid_boxes

        assert grid_boxes().shape == (14, 4)
        ```
    """
    if not sides or min(sides) < 1:
        raise ValueError(f"sides={tuple(sides)}; expected one number or more, each 1 or more, such as 1, 2, 3")
    return torch.tensor(
        [
            (column / side, row / side, (column + 1) / side, (row + 1) / side)
            for side in sides
            for row in range(side)
            for column in range(side)
        ]
    )


def check_boxes(boxes: Tensor, of: str) -> Tensor:
    """The same boxes (R, 4), if they are some.

    Args:
        of: whose boxes they are, for the message.

    Raises:
        ValueError: if there is none, or one is empty or leaves the image; the message names the box.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not len(boxes):
        raise ValueError(f"the boxes of {of} have shape {tuple(boxes.shape)}; expected (R, 4), one box or more")
    x0, y0, x1, y1 = boxes.unbind(dim=1)
    inside = boxes.isfinite().all(dim=1) & (x0 >= 0) & (y0 >= 0) & (x1 <= 1) & (y1 <= 1) & (x0 < x1) & (y0 < y1)
    if not inside.all():
        bad = [round(value, 4) for value in boxes[~inside][0].tolist()]
        raise ValueError(
            f"the box {bad} of {of} is none; expected x0 < x1 and y0 < y1 as shares of the image's sides, from 0 to 1"
        )
    return boxes


def pixel_box(box: Sequence[float], width: int, height: int) -> tuple[int, int, int, int]:
    """A box in whole pixels, left, top, right, bottom: all pixels that it touches, and one at least."""
    left, top = min(math.floor(box[0] * width + EDGE), width - 1), min(math.floor(box[1] * height + EDGE), height - 1)
    right = min(max(math.ceil(box[2] * width - EDGE), left + 1), width)
    bottom = min(max(math.ceil(box[3] * height - EDGE), top + 1), height)
    return left, top, right, bottom


EDGE = 1e-4  # of a pixel: single precision puts a third of 48 pixels a little behind the edge of the sixteenth
