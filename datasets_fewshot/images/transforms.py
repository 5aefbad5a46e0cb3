"""Turn a PIL image into float32 (3, H, W), as CLIP and the papers' training code do."""

from collections.abc import Callable, Sequence
from typing import Literal

from PIL import Image
from torch import Tensor
from torchvision.transforms import (
    CenterCrop,
    Compose,
    InterpolationMode,
    Normalize,
    RandomHorizontalFlip,
    RandomResizedCrop,
    Resize,
    ToTensor,
)

from datasets_fewshot.images.read import load_image

__all__ = ["CLIP_MEAN", "CLIP_STD", "Transform", "eval_transform", "load_image", "train_transform"]

Transform = Callable[[Image.Image], Tensor]
ResizeMode = Literal["shortest", "longest", "squash"]

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def eval_transform(
    size: int,
    mean: Sequence[float] = CLIP_MEAN,
    std: Sequence[float] = CLIP_STD,
    interpolation: str = "bicubic",
    resize_mode: str = "shortest",
) -> Transform:
    """CLIP's own transform: resize, crop the centre, convert to RGB, normalise: PIL -> (3, size, size).

    The conversion to RGB follows the resize, as in CLIP. The papers' code converts first; `load_image` does so for it.

    Args:
        size: height and width of the result, in pixels.
        interpolation: "bicubic", "bilinear" or "nearest".
        resize_mode: "shortest" makes the shorter side `size` and cuts the longer one, "squash" changes the aspect
            ratio, "longest" makes the longer side `size` and fills up with black.

    Raises:
        ValueError: if `interpolation` or `resize_mode` has another value.
    """
    mode = _interpolation(interpolation)
    if resize_mode == "shortest":
        resize: Callable[[Image.Image], Image.Image] = Resize(size, mode)
    elif resize_mode == "squash":
        resize = Resize((size, size), mode)
    elif resize_mode == "longest":
        resize = _ResizeLongest(size, mode)
    else:
        raise ValueError(f"resize_mode is {resize_mode!r}; use 'shortest', 'longest' or 'squash'")
    return Compose([resize, CenterCrop(size), _to_rgb, ToTensor(), Normalize(mean, std)])


def train_transform(
    size: int,
    mean: Sequence[float] = CLIP_MEAN,
    std: Sequence[float] = CLIP_STD,
    interpolation: str = "bicubic",
    min_area: float = 0.08,
) -> Transform:
    """The papers' training view: a random crop, resized, and flipped half the time: PIL -> (3, size, size).

    The crop has 8 to 100 % of the area by default. Random numbers come from torch's global generator, in the papers'
    order: `torch.manual_seed` before a call fixes the view.

    Args:
        min_area: the smallest crop, as a share of the image's area; Tip-Adapter's is 0.5.

    Raises:
        ValueError: if `interpolation` is not "bicubic", "bilinear" or "nearest".
    """
    crop = RandomResizedCrop(size, scale=(min_area, 1.0), interpolation=_interpolation(interpolation))
    return Compose([_to_rgb, crop, RandomHorizontalFlip(0.5), ToTensor(), Normalize(mean, std)])


class _ResizeLongest:
    """Make the longer side `size`; a class rather than a closure, so that worker processes can receive it."""

    def __init__(self, size: int, mode: InterpolationMode):
        self.size = size
        self.mode = mode

    def __call__(self, image: Image.Image) -> Image.Image:
        ratio = max(image.size) / self.size
        width, height = (max(1, round(side / ratio)) for side in image.size)
        return Resize((height, width), self.mode)(image)


def _to_rgb(image: Image.Image) -> Image.Image:
    return image.convert("RGB")


def _interpolation(name: str) -> InterpolationMode:
    modes = {
        "bicubic": InterpolationMode.BICUBIC,
        "bilinear": InterpolationMode.BILINEAR,
        "nearest": InterpolationMode.NEAREST,
    }
    if name not in modes:
        raise ValueError(f"interpolation is {name!r}; use one of {', '.join(modes)}")
    return modes[name]
