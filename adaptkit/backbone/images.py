"""Images in memory by their dtype: what is a picture, what is preprocessed already, and what is refused.

    PIL image                                        a picture
    uint8 array (H, W), (H, W, 3) or (H, W, 4)       a picture, 0 to 255, channels last, as numpy and PIL have it
    uint8 tensor (3, H, W), also (1, H, W)           a picture, 0 to 255, channels first, as torchvision has it
    float array (H, W, 3), of values from 0 to 1     a picture
    float tensor or array (3, H, W)                  preprocessed: of the backbone's size, less mean, by deviation
A picture has any size and goes through the backbone's preprocessing; a stack of B pictures has a dimension in front.
Other types (bool, whole numbers beside uint8, complex) and numbers that are not finite are refused. A float tensor of
values from 0 to 1 could be either: it is taken as preprocessed, and `predict` warns of it.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from adaptkit.backbone.preprocess import PreprocessConfig

Array: TypeAlias = npt.NDArray[Any]
CHANNELS = (1, 3, 4)  # of a picture: grey, colours, colours with transparency
# Preprocessed values lie within about 3 of 0 for every published mean and deviation; unscaled pixels go up to 255.
LARGEST = 32.0
HOW = "give uint8 pixels (tensors (3, H, W), arrays (H, W, 3)), PIL images, or floats that `backbone.preprocess` made"


class Taking(Protocol):
    """The part of a backbone that says which images it takes."""

    preprocess: Callable[[Image.Image], Tensor]
    preprocess_cfg: PreprocessConfig

    @property
    def has_vit_blocks(self) -> bool:
        """Whether the image tower has blocks, and with them positions for one size of images."""


def as_preprocessed(images: Tensor, backbone: Taking) -> Tensor:
    """Images (B, 3, H, W) as the image tower takes them: uint8 is preprocessed, floats are preprocessed already.

    Numbers are looked at on the CPU only, where that costs nothing beside the tower, and never while a graph is traced.

    Raises:
        ValueError: if the type is none for images, there are no three channels, a ViT takes another size, or
            a number is not finite.
    """
    check_dtype(images.dtype)
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images have shape {tuple(images.shape)}; expected (B, 3, H, W)")
    if images.dtype == torch.uint8:
        made = [backbone.preprocess(picture_of_tensor(image)) for image in images]
        return torch.stack(made).to(images.device) if made else images.float()
    if backbone.has_vit_blocks:
        check_size(images, backbone)
    traced = torch.jit.is_tracing() or torch.compiler.is_compiling() or type(images) is not Tensor
    if images.device.type == "cpu" and not traced and not torch._C._functorch.is_functorch_wrapped_tensor(images):
        check_numbers(images)
    return images


def check_size(images: Tensor, backbone: Taking) -> None:
    """Refuse preprocessed images (B, 3, H, W) of another size than the backbone's.

    Raises:
        ValueError: names both.
    """
    height, width = backbone.preprocess_cfg.image_size
    if tuple(images.shape[-2:]) != (height, width):
        raise ValueError(
            f"images have shape {tuple(images.shape)}; expected (B, 3, {height}, {width}), as `backbone.preprocess` "
            "makes them, or uint8 pixels of any size"
        )


@contextmanager
def size_blamed(images: Tensor, backbone: Taking) -> Iterator[None]:
    """Where a tower that may take several sizes fails on another than the backbone's, say that of the size."""
    try:
        yield
    except (AssertionError, RuntimeError):
        check_size(images, backbone)
        raise


def check_dtype(dtype: torch.dtype) -> None:
    """Refuse types that no image has.

    Raises:
        ValueError: names the type.
    """
    if dtype != torch.uint8 and not dtype.is_floating_point:
        raise ValueError(f"images are {str(dtype).removeprefix('torch.')}; {HOW}")


def check_numbers(images: Tensor) -> None:
    """Refuse floats that cannot be preprocessed images.

    Raises:
        ValueError: if one is not finite, or they reach far beyond mean and deviation, as pixels up to 255 do.
    """
    if not images.numel():
        return
    largest = float(images.detach().abs().amax())  # NaN stays NaN
    if not largest < float("inf"):
        raise ValueError(f"images hold {largest}, which is not finite; look at how they were made")
    if largest > LARGEST:
        raise ValueError(
            f"float images reach {largest:g}, so they are not preprocessed, whose values lie within about 3 of 0; {HOW}"
        )


def warn_of_pixels(images: Tensor) -> None:
    """Warn of float images whose values all lie from 0 to 1, which may be pixels that nobody preprocessed."""
    if images.numel() and float(images.min()) >= 0 and float(images.max()) <= 1:
        warnings.warn(
            "float tensors with all values from 0 to 1 are taken as preprocessed; if they are pixels, give "
            "(255 * images).round().to(torch.uint8) instead",
            stacklevel=2,
        )


def picture_of_tensor(image: Tensor) -> Image.Image:
    """A uint8 tensor (3, H, W), (4, H, W) or (1, H, W) as a PIL image."""
    if image.ndim != 3 or image.shape[0] not in CHANNELS:
        last = (
            ", with the channels last: use permute(2, 0, 1)" if image.ndim == 3 and image.shape[-1] in CHANNELS else ""
        )
        raise ValueError(f"a uint8 tensor of shape {tuple(image.shape)} is no picture (3, H, W){last}")
    return picture_of_array(image.detach().cpu().permute(1, 2, 0).numpy())


def picture_of_array(pixels: Array) -> Image.Image:
    """An array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of uint8, or of floats from 0 to 1, as a PIL image.

    Raises:
        ValueError: if it has another shape or type, is empty, or holds floats outside of 0 to 1.
    """
    if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[-1] in CHANNELS)) or not pixels.size:
        first = (
            ", with the channels first: use transpose(1, 2, 0)" if pixels.ndim == 3 and len(pixels) in CHANNELS else ""
        )
        raise ValueError(f"an array of shape {pixels.shape} and type {pixels.dtype} is no picture (H, W, 3){first}")
    if pixels.dtype.kind == "f":
        if not (pixels.min() >= 0 and pixels.max() <= 1):  # NaN is neither
            raise ValueError(
                f"an array of floats from {pixels.min():g} to {pixels.max():g} is no picture; expected values from 0 "
                "to 1, or uint8"
            )
        pixels = np.rint(pixels.astype(np.float64) * 255).astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise ValueError(f"an array of {pixels.dtype} is no picture; {HOW}")
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels))
