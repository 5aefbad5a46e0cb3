"""Crops of an image at its own resolution: what a resized image no longer shows, such as blur and noise."""

import torch
from PIL import Image

Place = tuple[float, float]  # of a crop: how far down and how far to the right, from 0 to 1

FIVE: tuple[Place, ...] = ((0.5, 0.5), (0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0))  # the centre and the corners


def random_places(count: int, generator: torch.Generator) -> list[Place]:
    """Places of crops, drawn uniformly."""
    return [(down, right) for down, right in torch.rand(count, 2, generator=generator).tolist()]


def crop(image: Image.Image, size: tuple[int, int], place: Place) -> Image.Image:
    """A crop of `size` (height, width); an image that is smaller is enlarged first, until it holds one."""
    height, width = size
    enlarged = max(height / image.height, width / image.width)
    if enlarged > 1:
        wanted = max(width, round(image.width * enlarged)), max(height, round(image.height * enlarged))
        image = image.resize(wanted, Image.Resampling.BICUBIC)
    down, right = place
    top, left = round(down * (image.height - height)), round(right * (image.width - width))
    return image.crop((left, top, left + width, top + height))
