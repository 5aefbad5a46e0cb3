"""What the decoder has to predict: tokens that the frozen tower makes of an image with patches taken away.

    Y = c * F_-1(x * up(m)),    c = 1 / sqrt(V)
F_-1 is the tower without its last blocks, its final norm kept; V is the variance of all elements of the unscaled
targets, tokens and channels together.

Letters: B images, N = B * K masked images, P patches, R rows of the tower, D_v its width.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.towers.block import run_block
from adaptkit.towers.pooling import AttentionPool
from adaptkit.towers.vision import VisionTower, embed_patches


def patch_size(tower: VisionTower, height: int, width: int) -> tuple[int, int]:
    """Height and width of a patch in pixels, for images of this size."""
    for module in tower.conv1.modules():
        if isinstance(module, nn.Conv2d):
            return module.stride[0], module.stride[1]
    return height // tower.grid[0], width // tower.grid[1]


def mask_pixels(images: Tensor, masks: Tensor, grid: tuple[int, int], patch: tuple[int, int]) -> Tensor:
    """Preprocessed images (B, C, H, W) and masks (B * K, P) -> images (B * K, C, H, W) with dropped patches at 0.

    0 is the mean colour. Pixels beyond the last whole patch are dropped in every mask.

    Args:
        grid: rows and columns of patches.
        patch: height and width of a patch in pixels.

    Raises:
        ValueError: if the masks are not a multiple of the images, or have another number of patches.
    """
    rows, columns = grid
    if masks.shape[1] != rows * columns or not len(images) or len(masks) % len(images):
        raise ValueError(
            f"masks of shape {tuple(masks.shape)} do not fit {len(images)} images with {rows} x {columns} patches"
        )
    shown = masks.to(images.dtype).reshape(-1, 1, rows, columns)
    shown = shown.repeat_interleave(patch[0], dim=2).repeat_interleave(patch[1], dim=3)
    shown = F.pad(shown, (0, images.shape[3] - shown.shape[3], 0, images.shape[2] - shown.shape[2]))
    return images.repeat_interleave(len(masks) // len(images), dim=0) * shown


def teacher_tokens(tower: VisionTower, images: Tensor, skip_blocks: int = 1) -> Tensor:
    """Images (N, 3, H, W) -> rows (N, R, D_v) of all tokens behind the final norm, without the last `skip_blocks`.

    A tower whose norm stands behind an attention pool, such as CoCa's, has none for its rows.

    Raises:
        ValueError: if the tower has no more blocks than are skipped.
    """
    if not 0 <= skip_blocks < tower.depth:
        raise ValueError(f"skip_blocks={skip_blocks}; the tower has {tower.depth} blocks, of which one has to stay")
    x = embed_patches(tower, images)
    for block in tower.blocks[: tower.depth - skip_blocks]:
        x = run_block(block, x)
    return x if isinstance(tower.pool, AttentionPool) and not tower.pools_normed else tower.ln_post(x)


@torch.no_grad()
def masked_targets(
    tower: VisionTower,
    images: Tensor,
    masks: Tensor,
    *,
    scale: float = 1.0,
    skip_blocks: int = 1,
    prefix_only: bool = False,
    chunk: int = 64,
) -> Tensor:
    """Targets (B * K, R, D_v) of images (B, 3, H, W) under masks (B * K, P), or (B * K, 1, D_v) with `prefix_only`.

    Args:
        scale: the factor c.
        skip_blocks: blocks at the end of the tower that are left out.
        prefix_only: the target is the class token behind all blocks.
        chunk: masked images that are encoded at a time; memory grows with it, results do not change.

    Raises:
        ValueError: if `prefix_only` is asked of a tower without a class token, or masks and images do not fit.
    """
    if prefix_only and not tower.n_prefix:
        raise ValueError("prefix_only needs a class token, and this image tower has none; leave prefix_only out")
    patch, per_image = patch_size(tower, *images.shape[2:]), len(masks) // max(len(images), 1)
    step, parts = max(1, chunk // max(per_image, 1)), []
    for start in range(0, len(images), step):
        some = masks[start * per_image : (start + step) * per_image]
        masked = mask_pixels(images[start : start + step], some, tower.grid, patch)
        tokens = teacher_tokens(tower, masked, 0 if prefix_only else skip_blocks)
        parts.append(tokens[:, :1] if prefix_only else tokens)
    return scale * torch.cat(parts)


def target_variance(batches: Iterable[Tensor]) -> float:
    """Variance V of all elements of the targets together, about one mean.

    Raises:
        ValueError: if there are no elements, or all are equal.
    """
    count, mean, squares = 0, 0.0, 0.0  # Chan's update: no second pass, and no difference of large sums.
    for batch in batches:
        values = batch.double()
        n, its_mean = values.numel(), float(values.mean())
        shift, total = its_mean - mean, count + n
        squares += float((values - its_mean).square().sum()) + shift**2 * count * n / total
        mean, count = mean + shift * n / total, total
    if squares <= 0:
        raise ValueError(f"the targets of {count} elements do not vary, so they have no scale; give other images")
    return squares / count


def target_scale(variance: float) -> float:
    """The factor c = 1 / sqrt(V), with which targets have variance 1."""
    return variance**-0.5
