"""Images whose texts list many attributes of many regions, with the truth: in the manner of the paper's DocMNIST.

    python -m benchmarks.region_drawings --out FOLDER --complexity 9 --budget 18 --images 400

An image is a 3 x 3 grid. Some of its cells hold a shape, which has a size and a colour, and its text has one sentence
for each: "There is a small red star." The pairwise complexity of an image is the number of its region-attribute pairs,
three for each shape; the attribute budget is how many words for shapes, colours and sizes there are in all.
Varma et al., arXiv:2308.11194, describe a set of this kind; the drawings and words here are our own.
"""

import argparse
import csv
import json
import math
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor

SIZES = ("small", "large")
SHAPES = ("circle", "square", "triangle", "star", "cross", "diamond", "ring", "arrow")
COLOURS = {
    "red": (214, 40, 40), "blue": (40, 80, 210), "green": (40, 150, 60), "yellow": (245, 205, 40),
    "black": (20, 20, 20), "purple": (130, 50, 160), "orange": (245, 130, 30), "brown": (120, 75, 40),
}  # fmt: skip
SIDE, CELL = 3, 48  # cells along a side, pixels of a cell
LEAST, MOST = 6, len(SIZES) + len(SHAPES) + len(COLOURS)  # of the attribute budget


@dataclass(frozen=True)
class Shape:
    """What stands in a cell."""

    size: str
    colour: str
    shape: str

    @property
    def sentence(self) -> str:
        """What the text says of it."""
        return f"There is {'an' if self.size[0] in 'aeiou' else 'a'} {self.size} {self.colour} {self.shape}."


@dataclass(frozen=True)
class Drawing:
    """An image: the shapes of its cells, row by row, None where there is none."""

    cells: tuple[Shape | None, ...]

    @property
    def text(self) -> str:
        """One sentence for each shape."""
        return " ".join(shape.sentence for shape in self.cells if shape is not None)

    def picture(self) -> Image.Image:
        """The image, 144 x 144, on white."""
        picture = Image.new("RGB", (SIDE * CELL, SIDE * CELL), "white")
        pen = ImageDraw.Draw(picture)
        for place, shape in enumerate(self.cells):
            if shape is not None:
                middle = (CELL * (place % SIDE) + CELL / 2, CELL * (place // SIDE) + CELL / 2)
                _draw(pen, shape, middle, CELL * (0.4 if shape.size == "large" else 0.2))
        return picture


def attributes_of(budget: int) -> tuple[str, ...]:
    """The words of a budget: both sizes, then shapes and colours in equal numbers, shapes first where it is odd.

    Raises:
        ValueError: if it is out of range.
    """
    if not LEAST <= budget <= MOST:
        raise ValueError(f"budget={budget}; expected {LEAST} to {MOST} attributes")
    shapes = (budget - len(SIZES) + 1) // 2
    return (*SIZES, *SHAPES[:shapes], *list(COLOURS)[: budget - len(SIZES) - shapes])


def drawings(count: int, complexity: int, budget: int = MOST, seed: int = 0) -> list[Drawing]:
    """Images with so many region-attribute pairs each.

    Raises:
        ValueError: if the complexity is no multiple of 3 from 3 to 27, or the budget is out of range.
    """
    per_shape, cells = 3, SIDE**2
    if complexity % per_shape or not per_shape <= complexity <= per_shape * cells:
        raise ValueError(f"complexity={complexity}; expected a multiple of 3 from 3 to {per_shape * cells}")
    words = attributes_of(budget)
    shapes, colours = [w for w in words if w in SHAPES], [w for w in words if w in COLOURS]
    draw = random.Random(f"{seed} {complexity} {budget}")
    found = []
    for _ in range(count):
        filled = draw.sample(range(cells), complexity // per_shape)
        found.append(
            Drawing(
                tuple(
                    Shape(draw.choice(SIZES), draw.choice(colours), draw.choice(shapes)) if place in filled else None
                    for place in range(cells)
                )
            )
        )
    return found


def truth_of(images: Sequence[Drawing], attributes: Sequence[str]) -> Tensor:
    """(N * 9, A) bool: which cell of which image has which attribute."""
    rows = [
        [shape is not None and name in (shape.size, shape.colour, shape.shape) for name in attributes]
        for image in images
        for shape in image.cells
    ]
    return torch.tensor(rows)


def _draw(pen: ImageDraw.ImageDraw, shape: Shape, middle: tuple[float, float], radius: float) -> None:
    x, y = middle
    colour, box = COLOURS[shape.colour], (x - radius, y - radius, x + radius, y + radius)
    if shape.shape == "circle":
        pen.ellipse(box, fill=colour)
    elif shape.shape == "ring":
        pen.ellipse(box, outline=colour, width=max(2, round(radius / 3)))
    elif shape.shape == "square":
        pen.rectangle(box, fill=colour)
    else:
        corners = [(x + radius * across, y + radius * down) for across, down in CORNERS[shape.shape]]
        pen.polygon(corners, fill=colour)


def _star() -> list[tuple[float, float]]:
    turns = [(math.pi * point / 5, 1.0 if point % 2 == 0 else 0.4) for point in range(10)]
    return [(length * math.sin(turn), -length * math.cos(turn)) for turn, length in turns]


THIRD = 1 / 3
CORNERS: dict[str, list[tuple[float, float]]] = {
    "triangle": [(0, -1), (1, 1), (-1, 1)],
    "diamond": [(0, -1), (0.7, 0), (0, 1), (-0.7, 0)],
    "star": _star(),
    "arrow": [(-1, -0.3), (0.2, -0.3), (0.2, -0.9), (1, 0), (0.2, 0.9), (0.2, 0.3), (-1, 0.3)],
    "cross": [
        (-THIRD, -1), (THIRD, -1), (THIRD, -THIRD), (1, -THIRD), (1, THIRD), (THIRD, THIRD),
        (THIRD, 1), (-THIRD, 1), (-THIRD, THIRD), (-1, THIRD), (-1, -THIRD), (-THIRD, -THIRD),
    ],
}  # fmt: skip


def write(images: Sequence[Drawing], folder: Path) -> None:
    """Write `pairs.jsonl`, which `adaptkit regions` takes, `boxes.csv`, `truth.jsonl` and the images into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        (folder / "pairs.jsonl").open("w") as pairs,
        (folder / "truth.jsonl").open("w") as truth,
        (folder / "boxes.csv").open("w", newline="") as boxes,
    ):
        table = csv.writer(boxes)
        table.writerow(["image", "x0", "y0", "x1", "y1"])
        for number, image in enumerate(images):
            name = f"{number:05}.png"
            image.picture().save(folder / name)
            part = ("train", "train", "train", "val", "test")[number % 5]
            pairs.write(json.dumps({"image": name, "caption": image.text, "split": part}) + "\n")
            cells = [None if one is None else [one.size, one.colour, one.shape] for one in image.cells]
            truth.write(json.dumps({"image": name, "cells": cells}) + "\n")
            for place in range(SIDE**2):
                row, column = divmod(place, SIDE)
                table.writerow([name, *(f"{v / SIDE:.6f}" for v in (column, row, column + 1, row + 1))])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="a folder")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--complexity", type=int, default=9, help="region-attribute pairs of an image")
    parser.add_argument("--budget", type=int, default=MOST, help=f"attributes in all, {LEAST} to {MOST}")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    write(drawings(args.images, args.complexity, args.budget, args.seed), args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
