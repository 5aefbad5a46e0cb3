"""Show pictures with their names, for an audit by eye, which catches errors of matching by name.

python -m datasets_fewshot.mini.recipe.montage --work WORK --family fxemoji --out fxemoji.png
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from .emoji import read_emoji
from .sources import NAMES

CELL, CAPTION, COLUMNS = 72, 22, 20


def montage(pictures: Sequence[Image.Image], names: Sequence[str]) -> Image.Image:
    """Lay pictures out in rows of twenty, each above its name in two lines."""
    rows = -(-len(pictures) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * CELL, rows * (CELL + CAPTION)), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (picture, name) in enumerate(zip(pictures, names, strict=True)):
        x, y = index % COLUMNS * CELL, index // COLUMNS * (CELL + CAPTION)
        rgba = picture.convert("RGBA").resize((64, 64))
        sheet.paste(rgba, (x + 4, y + 2), rgba)
        draw.text((x + 2, y + 66), name[:13] + "\n" + name[13:26], fill="black", font_size=10, spacing=0)
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="the folder that `rasterise` filled")
    parser.add_argument("--family", required=True, help="a key of WORK/drawings")
    parser.add_argument("--out", type=Path, required=True, help="PNG file to write")
    options = parser.parse_args()
    emoji = read_emoji(options.work / "raw" / NAMES.key)
    stem = options.work / "drawings" / options.family
    hexcodes = json.loads(stem.with_suffix(".json").read_text())
    pictures = [Image.fromarray(array) for array in np.load(stem.with_suffix(".npy"))]
    montage(pictures, [emoji[hexcode].name for hexcode in hexcodes]).save(options.out)


if __name__ == "__main__":
    main()
