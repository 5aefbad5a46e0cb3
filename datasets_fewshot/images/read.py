"""Read an image file, plain or inside an archive, as a PIL image in RGB."""

import contextlib
import io
import os
import struct
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, features

from datasets_fewshot.images.archives import read_bytes

Reading = Literal["paper", "upright"]

HEIF_SUFFIXES = frozenset({".heic", ".heif"})  # of telephones; read with pillow-heif
READERS = {".heic": "pillow-heif", ".heif": "pillow-heif", ".avif": "-U pillow"}  # ending -> what pip has to install
# Endings of the formats that are read on this machine.
IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
    | (HEIF_SUFFIXES if find_spec("pillow_heif") else set())
    | ({".avif"} if "avif" in features.modules and features.check_module("avif") else set())
)
# Endings of images and films that are not; whoever lists images says how many there are.
UNREAD_SUFFIXES = frozenset(
    f".{ending}"
    for ending in (
        *("heic", "heif", "avif", "jp2", "jxl", "svg", "psd", "ico", "tga", "raw", "cr2", "cr3", "nef", "arw"),
        *("dng", "exr", "hdr", "dcm", "npy", "pdf", "mp4", "mov", "avi", "webm"),
    )
)
SIXTEEN_BIT_MODES = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N"})

# PIL reports damage with any of these, by format: a bad PNG chunk is a SyntaxError, a cut-off TIFF a struct.error.
DAMAGED = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, struct.error, OverflowError)


def is_regular(path: str | Path) -> bool:
    """Whether there is a regular file; unlike `Path.is_file`, it says no to a name that no file can have."""
    return os.path.isfile(path)  # noqa: PTH113


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
    if Path(path).suffix.lower() in HEIF_SUFFIXES:
        _read_heif()
    try:
        with Image.open(io.BytesIO(read_bytes(path))) as image:
            image.load()
            return _upright(image) if reading == "upright" else _rgb(image)
    # An absurd size is a DecompressionBombError.
    except (*DAMAGED, Image.DecompressionBombError) as error:
        raise BadImageError(f"cannot read {str(path)!r} as an image ({error}); replace or remove the file") from error


@lru_cache(maxsize=1)
def _read_heif() -> None:
    """Have PIL read HEIF; without pillow-heif it says that it cannot identify the file."""
    if find_spec("pillow_heif"):
        import_module("pillow_heif").register_heif_opener()


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in SIXTEEN_BIT_MODES:
        # PIL's own conversion clips 16-bit values at 255, which turns nearly every such image white.
        values = np.asarray(image).clip(0, 65535)
        return _grey(values if values.size and values.max() <= 255 else values / 257)
    if image.mode == "F":
        return _grey(_float_values(np.asarray(image)))
    return image.convert("RGB")


def _float_values(values: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]") -> np.ndarray:
    """Grey values 0 to 255 of numbers that go to 1, to 255 or to 65,535; PIL cuts all of them at 255.

    Raises:
        ValueError: if they are none of these.
    """
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 65535):  # NaN is neither
        raise ValueError(f"its values go from {low:g} to {high:g}; expected 0 to 1, to 255 or to 65535")
    return values * 255 if high <= 1 else values if high <= 255 else values / 257


def _grey(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values.round().astype(np.uint8)).convert("RGB")


def _upright(image: Image.Image) -> Image.Image:
    with contextlib.suppress(*DAMAGED):  # What the camera wrote may be damaged where the photo is not; then it lies.
        image = ImageOps.exif_transpose(image)
    if image.mode not in ("RGBA", "LA", "PA") and "transparency" not in image.info:
        return _rgb(image)
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")
