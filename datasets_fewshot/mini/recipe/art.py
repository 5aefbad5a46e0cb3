"""Draw one picture, from SVG, font glyph or picture file, as 64 x 64 RGBA with straight alpha."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import resvg_py
from PIL import Image, ImageDraw, ImageFont

SIDE = 64
GLYPH_SIDE = 60  # pixels of a glyph's longer side, which leaves a margin as in the vector sets


def icon_svg(icon: Mapping[str, str | int], defaults: Mapping[str, str | int]) -> str:
    """Write an icon of an iconify set as a square SVG document; a wide icon is centred."""

    def value(key: str, default: int) -> str | int:
        return icon.get(key, defaults.get(key, default))

    view_box = f"{value('left', 0)} {value('top', 0)} {value('width', 16)} {value('height', 16)}"
    body = str(icon["body"]).replace("currentColor", "#000")
    head = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {head} width="{SIDE}" height="{SIDE}" viewBox="{view_box}">{body}</svg>'


def draw_svg(svg: str) -> np.ndarray:
    """Draw an SVG document: (64, 64, 4) uint8.

    Raises:
        ValueError: if the document cannot be drawn.
    """
    png = resvg_py.svg_to_bytes(svg_string=svg, width=SIDE, height=SIDE, skip_system_fonts=True)
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))


def draw_glyph(font_path: Path, character: str) -> np.ndarray:
    """Draw a font's glyph in black on transparency, centred: (64, 64, 4) uint8; an empty glyph is all transparent."""
    font = ImageFont.truetype(str(font_path), 256)
    left, top, right, bottom = font.getbbox(character)
    canvas = np.zeros((SIDE, SIDE, 4), np.uint8)
    if right <= left or bottom <= top:
        return canvas
    width, height = round(right - left), round(bottom - top)
    mask = Image.new("L", (width, height))
    ImageDraw.Draw(mask).text((-left, -top), character, fill=255, font=font)
    scale = GLYPH_SIDE / max(width, height)
    mask = mask.resize((max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.LANCZOS)
    x, y = (SIDE - mask.width) // 2, (SIDE - mask.height) // 2
    canvas[y : y + mask.height, x : x + mask.width, 3] = np.asarray(mask)
    return canvas


def draw_picture(path: Path) -> np.ndarray:
    """Fit a picture file into the square, keeping its proportions: (64, 64, 4) uint8."""
    with Image.open(path) as picture:
        picture.draft("RGB", (2 * SIDE, 2 * SIDE))
        fitted = picture.convert("RGBA")
    fitted.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
    canvas = Image.new("RGBA", (SIDE, SIDE))
    canvas.paste(fitted, ((SIDE - fitted.width) // 2, (SIDE - fitted.height) // 2))
    return np.asarray(canvas)
