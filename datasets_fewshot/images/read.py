"""Read an image file, plain or inside an archive, as a PIL image in RGB."""

import io
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from PIL import Image, features

from adaptkit.pixels import DAMAGED, HEIF_SUFFIXES, as_rgb, prepare_reading, upright
from datasets_fewshot.images.archives import read_bytes

Reading = Literal["paper", "upright"]

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
    prepare_reading(path)
    try:
        with Image.open(io.BytesIO(read_bytes(path))) as image:
            image.load()
            return upright(image) if reading == "upright" else as_rgb(image)
    except DAMAGED as error:
        raise BadImageError(f"cannot read {str(path)!r} as an image ({error}); replace or remove the file") from error
