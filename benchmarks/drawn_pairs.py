"""Drawings of two shapes with captions that say colour, size and place of each: pairs that plant what SVLC teaches.

    python -m benchmarks.drawn_pairs FOLDER     # images, and pairs.jsonl for `adaptkit tune --pairs`

Every caption is of its own combination, so no caption of a test image was read in training.
"""

import argparse
import itertools
import json
import random
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

COLOURS = {
    "red": (214, 40, 40),
    "blue": (40, 80, 214),
    "green": (46, 150, 60),
    "yellow": (240, 210, 40),
    "purple": (130, 50, 160),
    "orange": (245, 130, 30),
    "brown": (120, 75, 40),
    "grey": (140, 140, 140),
}
SIZES = {"small": 14, "big": 30}  # radius in pixels of a canvas of SIDE
RELATIONS = {"above": (0, -1), "below": (0, 1), "left of": (-1, 0), "right of": (1, 0)}
SHAPES = ("circle", "square", "triangle")
SIDE, SAVED = 144, 48
COUNTS = {"train": 512, "val": 128, "test": 384}


@dataclass(frozen=True)
class Scene:
    """A shape in a relation to another one of another colour and another shape."""

    first: tuple[str, str, str]  # size, colour, shape
    relation: str
    second: tuple[str, str, str]

    @property
    def caption(self) -> str:
        """What is to be seen, such as "a small red circle above a big blue square"."""
        one, other = (" ".join(words) for words in (self.first, self.second))
        return f"{_article(one)} {one} {self.relation} {_article(other)} {other}"

    @property
    def swapped(self) -> str:
        """The caption with the two colours exchanged: the same words, and wrong."""
        (size, colour, shape), (other_size, other_colour, other_shape) = self.first, self.second
        return Scene((size, other_colour, shape), self.relation, (other_size, colour, other_shape)).caption


def scenes(seed: int = 0) -> dict[str, list[Scene]]:
    """Different scenes for each part, drawn from all combinations."""
    things = list(itertools.product(SIZES, COLOURS, SHAPES))
    every = [
        Scene(first, relation, second)
        for first, relation, second in itertools.product(things, RELATIONS, things)
        if first[1] != second[1] and first[2] != second[2]
    ]
    drawn = iter(random.Random(seed).sample(every, sum(COUNTS.values())))
    return {part: list(itertools.islice(drawn, count)) for part, count in COUNTS.items()}


def draw(scene: Scene, seed: int) -> Image.Image:
    """The scene on a white ground, at a place and in shades that the seed chooses."""
    chance = random.Random(seed)
    image = Image.new("RGB", (SIDE, SIDE), "white")
    pen = ImageDraw.Draw(image)
    across, down = RELATIONS[scene.relation]
    for sign, (size, colour, shape) in ((1, scene.first), (-1, scene.second)):
        x = SIDE / 2 + sign * across * 36 + chance.uniform(-5, 5)
        y = SIDE / 2 + sign * down * 36 + chance.uniform(-5, 5)
        shade = tuple(max(0, min(255, value + chance.randint(-15, 15))) for value in COLOURS[colour])
        _shape(pen, shape, x, y, SIZES[size] + chance.uniform(-2, 2), shade)
    return image.resize((SAVED, SAVED), Image.Resampling.LANCZOS)


def write(folder: Path, seed: int = 0) -> Path:
    """Write the images and their table below a folder, and return the table's path."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for part, own in scenes(seed).items():
        for place, scene in enumerate(own):
            name = f"{part}_{place}.png"
            draw(scene, seed=_seed_of(part, place)).save(folder / name)
            rows.append({"image": name, "captions": [scene.caption], "split": part})
    table = folder / "pairs.jsonl"
    table.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return table


def _seed_of(part: str, place: int) -> int:
    """A seed for one image."""
    return list(COUNTS).index(part) * 10_000 + place


def _shape(pen: ImageDraw.ImageDraw, shape: str, x: float, y: float, radius: float, fill: tuple[int, ...]) -> None:
    if shape == "circle":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
    elif shape == "square":
        side = 0.88 * radius
        pen.rectangle((x - side, y - side, x + side, y + side), fill=fill)
    else:
        pen.polygon([(x, y - radius), (x - radius, y + 0.8 * radius), (x + radius, y + 0.8 * radius)], fill=fill)


def _article(words: str) -> str:
    return "an" if words[0] in "aeiou" else "a"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    print(write(parser.parse_args().folder))
