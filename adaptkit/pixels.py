"""PIL images of any mode as RGB. Training and prediction read them here, so that both see the same pixels."""

import contextlib
import struct
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

HEIF_SUFFIXES = frozenset({".heic", ".heif"})  # of telephones; read with pillow-heif
SIXTEEN_BIT_MODES = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N"})
ORIENTATION, UPRIGHT = 0x0112, 1  # EXIF's tag, and its value of photos that need no turn
STRIP_ROWS = 256  # rows that are converted at a time, so that large images need no large arrays in between

# PIL reports damage with any of these, by format: a bad PNG chunk is a SyntaxError, a cut-off TIFF a struct.error.
DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    struct.error,
    OverflowError,
    Image.DecompressionBombError,
)


def prepare_reading(path: str | Path) -> None:
    """Have PIL read HEIF if the file ends like one; without pillow-heif, PIL says that it cannot identify it."""
    if Path(path).suffix.lower() in HEIF_SUFFIXES:
        _register_heif()


@lru_cache(maxsize=1)
def _register_heif() -> None:
    if find_spec("pillow_heif"):
        import_module("pillow_heif").register_heif_opener()


def upright(image: Image.Image) -> Image.Image:
    """An image in RGB, turned as its EXIF orientation says, on white where it is transparent.

    Raises:
        ValueError: as `as_rgb` does.
    """
    with contextlib.suppress(*DAMAGED):  # What the camera wrote may be damaged where the photo is not; then it lies.
        if image.getexif().get(ORIENTATION, UPRIGHT) != UPRIGHT:  # Without a look, PIL would copy the whole image.
            image = ImageOps.exif_transpose(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        return _by_strips(image, _on_white)
    return as_rgb(image)


def as_rgb(image: Image.Image) -> Image.Image:
    """An image in RGB; grey values of 16 bits and floats become 0 to 255, where PIL's own conversion cuts them at 255.

    Raises:
        ValueError: if floats go neither to 1 nor to 255 or 65,535.
    """
    if image.mode in SIXTEEN_BIT_MODES:
        white = 255 if np.asarray(image).max() <= 255 else 65535  # eight bits in a file of sixteen would be black
    elif image.mode == "F":
        white = _white_of_floats(np.asarray(image))
    else:
        return image.convert("RGB")
    return _by_strips(image, lambda strip: _grey(strip, white))


def _white_of_floats(values: np.ndarray) -> int:
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 65535):  # NaN is neither
        raise ValueError(f"its values go from {low:g} to {high:g}; expected 0 to 1, to 255 or to 65535")
    return 1 if high <= 1 else 255 if high <= 255 else 65535


def _by_strips(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    converted = Image.new("RGB", image.size)
    for top in range(0, image.height, STRIP_ROWS):
        bottom = min(top + STRIP_ROWS, image.height)
        converted.paste(convert(image.crop((0, top, image.width, bottom))), (0, top))
    return converted


def _on_white(image: Image.Image) -> Image.Image:
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _grey(image: Image.Image, white: int) -> Image.Image:
    """Grey values from 0 to `white` as RGB."""
    values = np.asarray(image).clip(0, 65535)
    values = values / (white // 255) if white > 1 else values * 255
    return Image.fromarray(values.round().astype(np.uint8)).convert("RGB")
