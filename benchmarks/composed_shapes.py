"""A toy of composed image retrieval, drawn here: one shape with a colour and a place, and a change of one of them.

Every image shows one shape of a colour at a place, and jitter moves, scales and turns it a little. A query is an image
and a modifier that names another value of one attribute; its target is the image of the gallery in which the other two
attributes stay. The gallery holds every combination once, the image of the query aside.
"""

import math
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

COLOURS = {
    "red": (220, 40, 40), "orange": (240, 140, 30), "yellow": (245, 215, 50), "green": (50, 160, 70),
    "blue": (50, 90, 210), "purple": (140, 60, 170), "black": (30, 30, 30),
}  # fmt: skip
SHAPES = ("circle", "square", "triangle", "star", "heart", "cross")
PLACES = {"left": (0.3, 0.5), "right": (0.7, 0.5), "top": (0.5, 0.3), "bottom": (0.5, 0.7), "centre": (0.5, 0.5)}
MODIFIERS = {"colour": "in {}", "shape": "as a {}", "place": "at the {}"}
SIDE, DRAWN = 96, 4  # pixels of an image, and the factor that it is drawn larger by
ATTRIBUTES = ("colour", "shape", "place")


@dataclass(frozen=True)
class Drawing:
    """What an image shows."""

    colour: str
    shape: str
    place: str

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"{self.colour}_{self.shape}_{self.place}"


@dataclass(frozen=True)
class Question:
    """A drawing, which attribute shall change, the words that say so, and the drawing that is meant."""

    reference: Drawing
    attribute: str
    modifier: str
    target: Drawing


EVERY = tuple(Drawing(*values) for values in product(COLOURS, SHAPES, PLACES))


def questions(seed: int, count: int) -> list[Question]:
    """So many questions about each attribute, drawn by seed."""
    rng, found = np.random.default_rng(seed), []
    values = {"colour": tuple(COLOURS), "shape": SHAPES, "place": tuple(PLACES)}
    for attribute in ATTRIBUTES:
        for _ in range(count):
            reference = EVERY[rng.integers(len(EVERY))]
            others = [value for value in values[attribute] if value != getattr(reference, attribute)]
            value = others[rng.integers(len(others))]
            target = replace(reference, **{attribute: value})
            found.append(Question(reference, attribute, MODIFIERS[attribute].format(value), target))
    return found


def draw(drawing: Drawing, rng: np.random.Generator) -> Image.Image:
    """A drawing with jitter of place, size and angle."""
    side = SIDE * DRAWN
    image = Image.new("RGB", (side, side), (255, 255, 255))
    x, y = (side * (at + rng.uniform(-0.04, 0.04)) for at in PLACES[drawing.place])
    radius, angle = side * rng.uniform(0.17, 0.23), rng.uniform(-0.2, 0.2)
    pen = ImageDraw.Draw(image)
    colour = tuple(int(np.clip(part + rng.integers(-12, 13), 0, 255)) for part in COLOURS[drawing.colour])
    pen.polygon([(x + radius * u, y + radius * v) for u, v in outline(drawing.shape, angle)], fill=colour)
    return image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def outline(shape: str, angle: float) -> list[tuple[float, float]]:
    """The corners of a shape of radius 1 around (0, 0), y downwards, turned by an angle in radians."""
    turns = [2 * math.pi * step / 64 for step in range(64)]
    if shape == "circle":
        corners = [(math.cos(t), math.sin(t)) for t in turns]
    elif shape == "heart":
        corners = [
            (math.sin(t) ** 3, -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 16)
            for t in turns
        ]
    elif shape == "cross":
        a, b = 0.33, 1.0
        corners = [
            (-a, -b),
            (a, -b),
            (a, -a),
            (b, -a),
            (b, a),
            (a, a),
            (a, b),
            (-a, b),
            (-a, a),
            (-b, a),
            (-b, -a),
            (-a, -a),
        ]
    else:
        count, inner = {"square": (4, 1.0), "triangle": (3, 1.0), "star": (10, 0.4)}[shape]
        start = math.pi / 4 if shape == "square" else -math.pi / 2
        corners = [
            ((inner if step % 2 and shape == "star" else 1.0) * math.cos(start + 2 * math.pi * step / count),
             (inner if step % 2 and shape == "star" else 1.0) * math.sin(start + 2 * math.pi * step / count))
            for step in range(count)
        ]  # fmt: skip
    cos, sin = math.cos(angle), math.sin(angle)
    return [(u * cos - v * sin, u * sin + v * cos) for u, v in corners]


def write_images(folder: Path, seed: int, copies: int = 1) -> list[Path]:
    """Write every combination so many times, each with jitter of its own; the paths, combination by combination."""
    rng, written = np.random.default_rng(seed), []
    folder.mkdir(parents=True, exist_ok=True)
    for drawing in EVERY:
        for copy in range(copies):
            path = folder / f"{drawing.name}_{copy}.png"
            draw(drawing, rng).save(path)
            written.append(path)
    return written
