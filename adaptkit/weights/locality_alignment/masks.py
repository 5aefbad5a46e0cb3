"""Masks over the patches of an image: 1 keeps a patch, 0 drops it.

An image has a group of masks, one after the other: m, its complement 1 - m (antithetical sampling), and a full mask
that keeps everything, which anchors what the whole image looks like. Random numbers come from outside, so that the
same numbers give the same masks.

Letters: B images, P patches, K masks an image.
"""

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Sampler = Literal["uniform", "bernoulli", "blockwise", "full"]
Third = Literal["ones", "zeros"]
SMALLEST_BLOCK = 16  # patches
LARGEST_ASPECT = 1 / 0.3


def masks_per_image(antithetical: bool = True, full: bool = True) -> int:
    """Number K of masks of an image."""
    return 1 + antithetical + full


def uniform_masks(draws: Tensor, antithetical: bool = True, full: bool = True) -> Tensor:
    """Masks (N, P) that keep a share of the patches which is itself uniform in (0, 1).

    Args:
        draws: numbers u of U(0, 1), (N, 1 + P), N a multiple of K; patch p of a row is kept if u_p > u_0. The draws of
            complements and of full masks are not read.
        antithetical: whether the second mask of every group is the complement of the first.
        full: whether the last mask of every group keeps everything.

    Raises:
        ValueError: if the rows do not divide into groups.

    Example:
        ```python
        from adaptkit.weights.locality_alignment import uniform_masks

        masks = uniform_masks(torch.rand(6, 10))  # of two images with 9 patches
        assert bool((masks[0] + masks[1] == 1).all()) and bool((masks[2] == 1).all())
        ```
    """
    return grouped((draws[:, 1:] > draws[:, :1]).to(draws.dtype), antithetical, full)


def bernoulli_masks(draws: Tensor, keep: float = 0.5, antithetical: bool = True, full: bool = True) -> Tensor:
    """Masks (N, P) whose patches are kept with one probability each.

    Args:
        draws: numbers u of U(0, 1), (N, P); a patch is kept if u < keep.
    """
    return grouped((draws < keep).to(draws.dtype), antithetical, full)


def blockwise_masks(
    count: int,
    grid: tuple[int, int],
    generator: np.random.Generator,
    keep: float = 0.4,
    antithetical: bool = True,
    full: bool = True,
    third: Third = "ones",
) -> Tensor:
    """Masks (count * K, P) of kept rectangles, drawn until they cover a share `keep` of the patches or more.

    Args:
        count: number B of images.
        grid: rows and columns of patches.
        third: what the last mask of a group is: "ones" keeps everything, "zeros" is what the released code has.

    Raises:
        ValueError: if no block of 16 patches fits: the grid is too small for this sampler.
    """
    rows, columns = grid
    largest = int(keep * rows * columns)
    if largest <= SMALLEST_BLOCK:
        raise ValueError(
            f"a grid of {rows} x {columns} patches is too small for blocks of {SMALLEST_BLOCK} patches that keep "
            f"{keep:g} of it; take the masks uniform or bernoulli"
        )
    masks = torch.zeros(count, rows, columns)
    for mask in masks:
        while mask.mean() < keep:
            size, aspect = int(generator.integers(SMALLEST_BLOCK, largest)), generator.uniform(0.3, LARGEST_ASPECT)
            across = min(int(math.sqrt(size / aspect)), rows)
            along = min(int(size / across), columns)
            top, left = generator.integers(0, rows - across + 1), generator.integers(0, columns - along + 1)
            mask[top : top + across, left : left + along] = 1
    repeated = masks.flatten(1).repeat_interleave(masks_per_image(antithetical, full), dim=0)
    return grouped(repeated, antithetical, full, third)


def grouped(masks: Tensor, antithetical: bool, full: bool, third: Third = "ones") -> Tensor:
    """Masks (N, P) with complements and full masks in their places of every group."""
    size = masks_per_image(antithetical, full)
    if len(masks) % size:
        raise ValueError(f"{len(masks)} rows of draws are no multiple of the {size} masks of an image")
    masks = masks.clone()
    if antithetical:
        masks[1::size] = 1 - masks[0::size]
    if full:
        masks[size - 1 :: size] = 1 if third == "ones" else 0
    return masks


def draw_masks(count: int, grid: tuple[int, int], sampler: Sampler, keep: float, third: Third) -> Tensor:
    """Groups of masks (count * K, P) of so many images, by torch's random numbers, on the CPU.

    Args:
        sampler: "full" keeps everything, one mask an image, which is the control without random masks.
        keep: kept share, of bernoulli and blockwise.
    """
    patches, size = grid[0] * grid[1], masks_per_image()
    if sampler == "full":
        return torch.ones(count, patches)
    if sampler == "blockwise":
        seed = int(torch.randint(2**31, ()))
        return blockwise_masks(count, grid, np.random.default_rng(seed), keep, third=third)
    draws = torch.rand(count * size, patches + (sampler == "uniform"), dtype=torch.float32)
    masks = uniform_masks(draws) if sampler == "uniform" else bernoulli_masks(draws, keep)
    return grouped(masks, antithetical=True, full=True, third=third)
