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
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw

from adaptkit import FrozenCLIP

COLOURS = {
    "red": (220, 40, 40), "orange": (240, 140, 30), "yellow": (245, 215, 50), "green": (50, 160, 70),
    "blue": (50, 90, 210), "purple": (140, 60, 170), "black": (30, 30, 30),
}  # fmt: skip
SHAPES = ("circle", "square", "triangle", "star", "heart", "diamond")
PLACES = {"left": (0.3, 0.5), "right": (0.7, 0.5), "top": (0.5, 0.3), "bottom": (0.5, 0.7), "centre": (0.5, 0.5)}
MODIFIERS = {"colour": "in {}", "shape": "as a {}", "place": "at the {}"}
# Shape -> number of corners, their distances from the centre in turn, and the angle of the first.
POLYGONS = {
    "square": (4, (1.0,), math.pi / 4),
    "triangle": (3, (1.0,), -math.pi / 2),
    "star": (10, (1.0, 0.4), -math.pi / 2),
    "diamond": (4, (1.0, 0.6), 0.0),
}
CAPTIONS = (
    "a {colour} {shape} at the {place}",
    "a {colour} {shape}",
    "a {shape} in {colour}",
    "a {shape} at the {place}",
    "{colour}",
    "a photo of a {shape}, {colour}, at the {place}",
)
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
    else:
        count, radii, start = POLYGONS[shape]
        turns = [start + 2 * math.pi * step / count for step in range(count)]
        corners = [
            (radii[step % len(radii)] * math.cos(turn), radii[step % len(radii)] * math.sin(turn))
            for step, turn in enumerate(turns)
        ]
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


def tune_on_captions(
    backbone: FrozenCLIP, steps: int = 80, batch: int = 64, lr: float = 7e-4, seed: int = 0
) -> FrozenCLIP:
    """Tune both towers of a backbone, in place, on captions of drawings, so that it understands what is asked."""
    torch.manual_seed(seed)
    rng, model = np.random.default_rng(seed + 10_000), backbone.model
    images = torch.stack([backbone.preprocess(draw(drawing, rng)) for _ in range(4) for drawing in EVERY])
    parameters = [parameter for name, parameter in model.named_parameters() if name != "logit_scale"]
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.05)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * min(1, (step + 1) / 10) * (1 + math.cos(math.pi * step / steps)) / 2
        places = torch.from_numpy(rng.permutation(len(images))[:batch])
        said = [CAPTIONS[rng.integers(len(CAPTIONS))].format(**vars(EVERY[at % len(EVERY)])) for at in places.tolist()]
        texts, owners = (np.asarray(part) for part in np.unique(said, return_inverse=True))
        f = F.normalize(model.encode_image(images[places]), dim=-1)
        g = F.normalize(model.encode_text(backbone.tokenize([str(text) for text in texts])), dim=-1)
        logits, own = 20 * f @ g.T, torch.from_numpy(owners.reshape(-1))
        shared = F.one_hot(own, len(texts)).T.float()
        backwards = F.cross_entropy(logits.T, shared / shared.sum(dim=1, keepdim=True))
        optimizer.zero_grad()
        ((F.cross_entropy(logits, own) + backwards) / 2).backward()
        optimizer.step()
    model.requires_grad_(False)
    return backbone
