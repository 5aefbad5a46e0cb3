"""A sheet of small pictures with names and labels, which shows quickly whether data and names agree."""

import random
import unicodedata
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageOps

from datasets_fewshot.dataset import FewShotDataset, Item

CELL, CAPTION, MARGIN = 112, 26, 6  # pixels
LETTERS = 18  # letters of a name that fit below a picture


def contact_sheet(dataset: FewShotDataset, pictures: int = 48, columns: int = 8, seed: int = 0) -> Image.Image:
    """Draw pictures of `pictures` classes, or several per class if there are fewer, with captions "label name".

    Raises:
        BadImageError: if a chosen image cannot be read.
    """
    items = _choose(dataset, pictures, random.Random(seed))
    return captioned_sheet([(dataset.load(item), f"{item.label}\n{item.classname}") for item in items], columns)


def captioned_sheet(pictures: Sequence[tuple[Image.Image, str]], columns: int = 8) -> Image.Image:
    """Draw pictures side by side, with two lines of caption below each."""
    rows = -(-len(pictures) // columns)
    width, height = CELL + MARGIN, CELL + CAPTION + MARGIN
    sheet = Image.new("RGB", (columns * width + MARGIN, rows * height + MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (image, caption) in enumerate(pictures):
        left, top = MARGIN + index % columns * width, MARGIN + index // columns * height
        picture = ImageOps.contain(image, (CELL, CELL))
        sheet.paste(picture, (left + (CELL - picture.width) // 2, top + (CELL - picture.height) // 2))
        draw.text((left, top + CELL), "\n".join(_readable(line) for line in caption.splitlines()), fill="black")
    return sheet


def _choose(dataset: FewShotDataset, pictures: int, rng: random.Random) -> list[Item]:
    """Choose classes evenly spread over the labels and random images within each class; sorted by label."""
    groups: dict[int, list[Item]] = {}
    for items in dataset.split:
        for item in items:
            groups.setdefault(item.label, []).append(item)
    labels = sorted(groups)
    chosen = [labels[place * len(labels) // pictures] for place in range(pictures)]
    return [
        item
        for label in sorted(set(chosen))
        for item in rng.sample(groups[label], min(chosen.count(label), len(groups[label])))
    ]


def _readable(line: str) -> str:
    # PIL's built-in font has unaccented Latin letters only: "é" is written "e", and letters of other scripts as "?".
    letters = unicodedata.normalize("NFKD", line.replace("_", " "))
    readable = "".join(c for c in letters if not unicodedata.combining(c)).encode("ascii", "replace").decode()
    return readable if len(readable) <= LETTERS else readable[: LETTERS - 1] + "."
