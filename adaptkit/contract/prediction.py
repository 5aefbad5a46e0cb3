"""Images in, class names with probabilities out: what `method.predict` does."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from adaptkit.contract.answers import Answering, Prediction, TakesNames, needs_neutral, neutral_class, ranked

__all__ = ["Images", "Prediction", "predict", "predictions", "preprocess", "read_image"]

ImageLike: TypeAlias = str | Path | Image.Image
Images: TypeAlias = Tensor | ImageLike | Iterable[ImageLike]  # a tensor holds preprocessed images (B, 3, H, W)

ORIENTATION, UPRIGHT = 0x0112, 1  # EXIF's tag, and its value of photos that need no turn.
STRIP_ROWS = 256  # Rows that are converted at a time.
SIXTEEN_BIT_MODES = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N"})
# What PIL reports of files that are missing, cut off, no images, or absurdly large.
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, KeyError, Image.DecompressionBombError)


DEFAULT_ANSWERING = Answering()


class Classifies(TakesNames, Protocol):
    """The part of a method that prediction needs."""

    training: bool

    @property
    def device(self) -> torch.device: ...

    def __call__(self, images: Tensor) -> Tensor: ...

    def train(self, mode: bool = True) -> object: ...

    def eval(self) -> object: ...

    def encode_classes_once(self) -> AbstractContextManager[None]: ...


def predict(
    method: Classifies, images: Images, answering: Answering = DEFAULT_ANSWERING, batch_size: int = 64
) -> list[Prediction]:
    """Classify images, in order; the method is left in the mode it was in.

    Args:
        images: preprocessed (B, 3, H, W), or paths and PIL images, or one of these.
        batch_size: images that are in memory at the same time.

    Raises:
        ValueError: if a file cannot be read as an image, the tensor has another shape, or there is no such answer.
    """
    return list(predictions(method, _batches(method, images, batch_size), answering))


@torch.no_grad()
def predictions(
    method: Classifies, batches: Iterable[Tensor], answering: Answering = DEFAULT_ANSWERING
) -> Iterator[Prediction]:
    """Classify batches of preprocessed images (B, 3, H, W), one after another as they come.

    Raises:
        ValueError: if the method has no classes, or independent scores need an offset that is not given.
    """
    if not len(method.classes):
        raise ValueError("the method has no classes to tell apart; give it some with set_classes(classnames)")
    names, neutral, was_training = method.classes.classnames, needs_neutral(method, answering), method.training
    method.eval()
    try:
        with neutral_class(method) if neutral else nullcontext(), method.encode_classes_once():
            for batch in batches:
                yield from ranked(method(batch.to(method.device)), names, answering, neutral)
    finally:
        method.train(was_training)


def _batches(method: Classifies, images: Images, batch_size: int) -> Iterator[Tensor]:
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}; expected at least 1")
    if isinstance(images, Tensor):
        height, width = method.backbone.preprocess_cfg.image_size
        if images.ndim != 4 or images.shape[1:] != (3, height, width):
            raise ValueError(
                f"images have shape {tuple(images.shape)}; expected (B, 3, {height}, {width}), as "
                "`method.backbone.preprocess` makes them, or paths or PIL images"
            )
        yield from images.split(batch_size)
        return
    remaining = iter([images] if isinstance(images, str | Path | Image.Image) else images)
    while batch := list(islice(remaining, batch_size)):
        yield preprocess(method, [read_image(image) for image in batch])


def preprocess(method: Classifies, images: Sequence[Image.Image]) -> Tensor:
    """RGB images of any size as the backbone takes them: (B, 3, H, W)."""
    return torch.stack([method.backbone.preprocess(image) for image in images])


def read_image(image: ImageLike) -> Image.Image:
    """A file or an opened image as RGB: turned as its EXIF orientation says, on white where it is transparent.

    Raises:
        ValueError: if it cannot be read as an image; the message names the file.
    """
    if isinstance(image, Image.Image):
        return _upright(image)
    try:
        with Image.open(image) as opened:
            opened.load()
            return _upright(opened)
    except UNREADABLE as error:
        raise ValueError(f"cannot read {str(image)!r} as an image ({error})") from error


def _upright(image: Image.Image) -> Image.Image:
    if image.getexif().get(ORIENTATION, UPRIGHT) != UPRIGHT:  # Without a look, PIL would copy the whole image.
        image = ImageOps.exif_transpose(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        return _by_strips(image, _on_white)
    if image.mode in SIXTEEN_BIT_MODES:  # PIL's own conversion clips at 255
        return _by_strips(image, _in_eight_bits)
    return image.convert("RGB")


def _by_strips(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Convert an image to RGB some rows at a time, so that a large one needs no large arrays in between."""
    converted = Image.new("RGB", image.size)
    for top in range(0, image.height, STRIP_ROWS):
        bottom = min(top + STRIP_ROWS, image.height)
        converted.paste(convert(image.crop((0, top, image.width, bottom))), (0, top))
    return converted


def _on_white(image: Image.Image) -> Image.Image:
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _in_eight_bits(image: Image.Image) -> Image.Image:
    return Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8)).convert("RGB")
