"""Read an image file, plain or inside an archive, as a PIL image in RGB."""

import io
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from datasets_fewshot.images.archives import read_bytes

Reading = Literal["paper", "upright"]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})
SIXTEEN_BIT_MODES = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N"})


class BadImageError(ValueError):
    """A file that cannot be read as an image; the message names it."""


def load_image(path: str | Path, reading: Reading = "paper") -> Image.Image:
    """Read an image file in RGB. A path may lead into an archive: `folder/images.zip/cat/1.png`.

    Args:
        path: a file, or a member of a .zip or .tar file.
        reading: "paper" opens and converts to RGB and does nothing else, as the papers' code does: a photo that
            a camera marked as turned stays turned, transparency is dropped. "upright" turns the photo as its EXIF
            orientation says and lays transparent images on white.

    Raises:
        BadImageError: if the file is missing, truncated, too large to be trusted, or no image.
    """
    try:
        with Image.open(io.BytesIO(read_bytes(path))) as image:
            image.load()
            return _upright(image) if reading == "upright" else _rgb(image)
    # PIL reports a damaged file with any of these, by format: a bad PNG chunk is a SyntaxError, a cut-off TIFF a
    # struct error or an EOFError, an absurd size a DecompressionBombError.
    except (OSError, SyntaxError, ValueError, EOFError, KeyError, Image.DecompressionBombError) as error:
        raise BadImageError(f"cannot read {str(path)!r} as an image ({error}); replace or remove the file") from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in SIXTEEN_BIT_MODES:
        # PIL's own conversion clips 16-bit values at 255, which turns nearly every such image white.
        return Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


def _upright(image: Image.Image) -> Image.Image:
    image = ImageOps.exif_transpose(image)
    if image.mode not in ("RGBA", "LA", "PA") and "transparency" not in image.info:
        return _rgb(image)
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")
