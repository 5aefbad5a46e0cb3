"""Inputs that show nothing, as CLIP sees them: plain colours, noise, and images whose pixels are shuffled."""

import torch
from torch import Tensor

from adaptkit.backbone.preprocess import PreprocessConfig

NOISE_IMAGES = 16
SEED = 0  # of the noise and of the shuffling, so that a loaded adapter has the same prior


def blank_images(cfg: PreprocessConfig) -> Tensor:
    """Preprocessed images (3, 3, H, W): black, white, and the mean colour."""
    mean, std = (torch.tensor(values) for values in (cfg.mean, cfg.std))
    colours = torch.stack([(0 - mean) / std, (1 - mean) / std, torch.zeros(3)])  # (3, 3)
    return colours[:, :, None, None].expand(-1, -1, *cfg.image_size).clone()


def noise_images(cfg: PreprocessConfig, count: int = NOISE_IMAGES) -> Tensor:
    """Preprocessed images (count, 3, H, W) of Gaussian noise with the mean and deviation of the preprocessing."""
    return torch.randn(count, 3, *cfg.image_size, generator=torch.Generator().manual_seed(SEED))


def shuffled_images(images: Tensor) -> Tensor:
    """Images (N, 3, H, W), each with its pixels in another order; their colours stay."""
    generator = torch.Generator().manual_seed(SEED)
    pixels = images.flatten(2)
    orders = [torch.randperm(pixels.shape[-1], generator=generator).to(images.device) for _ in pixels]
    return torch.stack([image[:, order] for image, order in zip(pixels, orders, strict=True)]).view_as(images)
