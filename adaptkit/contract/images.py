"""Images as they are given, of any kind, alone or several: read, checked and prepared for the backbone."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.images import (
    CHANNELS,
    Array,
    check_dtype,
    check_numbers,
    picture_of_array,
    picture_of_tensor,
    warn_of_pixels,
)
from adaptkit.backbone.test_views import TestViews, views_of
from adaptkit.pixels import DAMAGED, prepare_reading, upright
from adaptkit.regular_file import open_regular

ImageLike: TypeAlias = str | Path | Image.Image | Tensor | Array  # tensors and arrays: see `adaptkit.backbone.images`
Images: TypeAlias = ImageLike | Iterable[ImageLike]

UNREADABLE = DAMAGED  # what PIL reports of files that are missing, cut off, no images, or absurdly large


class HasBackbone(Protocol):
    """The part of a method that preparing images needs."""

    backbone: FrozenCLIP


def batches(method: HasBackbone, images: Images, batch_size: int) -> Iterator[Tensor]:
    """Images of any kinds, prepared: batches (b, 3, H, W), or (b, V, 3, H, W) for a method that wants views of each.

    Raises:
        ValueError: if `batch_size` is less than 1, or one is no image.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}; expected at least 1")
    if isinstance(images, Tensor):
        check_dtype(images.dtype)
    if isinstance(images, Tensor) and images.ndim == 4 and images.is_floating_point():  # as it is, wherever it is
        if images.device.type != "cpu":
            check_numbers(images)
        warn_of_pixels(images)
        _warn_of_one_view(method)
        yield from (_of_its_size(method, part) for part in images.split(batch_size) if len(part))
        return
    remaining, at_once = iter(one_by_one(images)), images_at_once(method, batch_size)
    while batch := list(islice(remaining, at_once)):
        together = [prepared(method, image) for image in batch]
        if len({image.ndim for image in together}) == 1:
            yield torch.stack(together)
        else:  # preprocessed images are one view each, pictures are several
            yield from (image[None] for image in together)


def one_by_one(images: Images) -> Iterable[ImageLike]:
    """The images of a list, a stack or an iterator; one image alone is a list of one.

    Raises:
        ValueError: if it is no image and no list of images.
    """
    if isinstance(images, np.ndarray):
        # Three dimensions with channels first are one image, preprocessed or refused, and never three grey ones.
        is_one = images.ndim < 3 or (images.ndim == 3 and (images.shape[-1] in CHANNELS or len(images) in CHANNELS))
    else:
        is_one = isinstance(images, str | Path | Image.Image) or (isinstance(images, Tensor) and images.ndim < 4)
    if is_one:
        return [images]  # type: ignore[list-item]
    if not isinstance(images, Iterable) or isinstance(images, bytes | bytearray | dict):
        raise ValueError(
            f"{_kind(images)} is no image; expected paths, PIL images, arrays or tensors, or a list of them"
        )
    return images


def prepared(method: HasBackbone, image: ImageLike) -> Tensor:
    """One image of any kind as the backbone takes it: (3, H, W), or (V, 3, H, W) for a method that wants views.

    Raises:
        ValueError: if it cannot be read, or its type, shape or numbers are none of an image.
    """
    known = opened(method, image)
    if isinstance(known, Tensor):
        _warn_of_one_view(method)
    return known if isinstance(known, Tensor) else _of_picture(method, known)


def wanted_views(method: HasBackbone) -> TestViews | None:
    """The views of each image that a method wants; None where the image as it is will do."""
    views: TestViews | None = getattr(method, "test_views", None)  # what only encodes images has none
    return None if views is None or views.count == 1 else views


def images_at_once(method: HasBackbone, batch_size: int) -> int:
    """How many images a batch holds, so that they have no more than `batch_size` views together."""
    views = wanted_views(method)
    return batch_size if views is None else max(1, batch_size // views.count)


def _warn_of_one_view(method: HasBackbone) -> None:
    views = wanted_views(method)
    if views is not None:
        warnings.warn(
            f"{type(method).__name__} looks at {views.count} views of a picture, and a preprocessed image is one view "
            "of it, so that nothing is gained; give paths, PIL images or uint8 pixels",
            stacklevel=3,
        )


def _of_picture(method: HasBackbone, picture: Image.Image) -> Tensor:
    views = wanted_views(method)
    return method.backbone.preprocess(picture) if views is None else views_of(picture, method.backbone, views)


def opened(method: HasBackbone, image: ImageLike) -> Image.Image | Tensor:
    """One image of any kind as a picture in RGB, or as it is, (3, H, W), where it is preprocessed already.

    Raises:
        ValueError: if it cannot be read, or its type, shape or numbers are none of an image.
    """
    if isinstance(image, Tensor | np.ndarray) and image.ndim == 4 and len(image) == 1:
        image = image[0]
    if isinstance(image, np.ndarray) and image.dtype.kind == "f" and image.ndim == 3 and image.shape[-1] != 3:
        image = torch.from_numpy(np.ascontiguousarray(image))  # channels first, so preprocessed
    if isinstance(image, Tensor):
        check_dtype(image.dtype)
        if image.is_floating_point():
            check_numbers(image)
            return _of_its_size(method, image[None])[0].cpu()
        image = picture_of_tensor(image)
    elif isinstance(image, np.ndarray):
        image = picture_of_array(image)
    elif not isinstance(image, str | Path | Image.Image):
        raise ValueError(f"{_kind(image)} is no image; expected a path, a PIL image, an array or a tensor")
    return read_image(image)


def _kind(value: object) -> str:
    return f"{str(value)[:20]!r} ({type(value).__name__})" if isinstance(value, int | float) else type(value).__name__


def _of_its_size(method: HasBackbone, images: Tensor) -> Tensor:
    """Preprocessed images (B, 3, H, W), if that is the backbone's size."""
    height, width = method.backbone.preprocess_cfg.image_size
    if images.shape[1:] != (3, height, width):
        raise ValueError(
            f"images have shape {tuple(images.shape)}; expected (B, 3, {height}, {width}), as "
            "`method.backbone.preprocess` makes them, or paths, PIL images or uint8 pixels of any size"
        )
    return images


def preprocess(method: HasBackbone, images: Sequence[Image.Image]) -> Tensor:
    """RGB images of any size as the backbone takes them: (B, 3, H, W), or (B, V, 3, H, W) where views are wanted."""
    return torch.stack([_of_picture(method, image) for image in images])


def read_image(image: str | Path | Image.Image) -> Image.Image:
    """A file or an opened image as RGB: turned as its EXIF orientation says, on white where it is transparent.

    Raises:
        ValueError: if it cannot be read as an image; the message names the file.
    """
    if isinstance(image, Image.Image):
        return upright(image)
    prepare_reading(image)
    try:
        with open_regular(image, "image") as file, Image.open(file) as opened:
            opened.load()
            return upright(opened)
    except UNREADABLE as error:
        raise ValueError(f"cannot read {str(image)!r} as an image ({error})") from error
