"""Preprocessing of images for the image tower, as facts and as open_clip's own transform."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import Tensor, nn


@dataclass(frozen=True)
class PreprocessConfig:
    """What an image goes through before the image tower."""

    image_size: tuple[int, int]  # height, width in pixels
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str  # "bicubic" or "bilinear"
    resize_mode: str  # "shortest" side and centre crop, "longest" side and padding, or "squash"

    def to_tensor(self, image: Image.Image) -> Tensor:
        """An RGB image of the right size -> (3, H, W), normalised."""
        pixels = torch.from_numpy(np.array(image, dtype=np.float32)).permute(2, 0, 1) / 255
        return (pixels - torch.tensor(self.mean)[:, None, None]) / torch.tensor(self.std)[:, None, None]


def preprocess_of(visual: nn.Module) -> tuple[PreprocessConfig, Callable[[Image.Image], Tensor]]:
    """Preprocessing facts of an open_clip image tower, and its transform of test images."""
    cfg = PreprocessCfg(**getattr(visual, "preprocess_cfg", {"size": visual.image_size}))
    size = (cfg.size, cfg.size) if isinstance(cfg.size, int) else tuple(cfg.size)
    facts = PreprocessConfig(size, tuple(cfg.mean), tuple(cfg.std), cfg.interpolation, cfg.resize_mode)
    return facts, image_transform_v2(cfg, is_train=False)
