"""Exits of the image tower: the class token behind the first l blocks, with a norm and a projection of the exit's own.

    z_l = LN_l(x_l[CLS]) P_l,   LN_l and P_l copies of the tower's last norm and projection at the start
The blocks are frozen, and an exit at depth l costs nothing beyond them: the blocks behind l do not run.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.layers.full_precision import at_least_fp32, run_as
from adaptkit.towers.block import run_block, run_last_block
from adaptkit.towers.vision import VisionTower, embed_patches


class Exit(nn.Module):
    """Class-token rows (B, D_v) behind some blocks -> features (B, D), not normalised."""

    def __init__(self, tower: VisionTower):
        super().__init__()
        norm, projection = tower.ln_post, tower.projection
        self.norm = copy.deepcopy(norm).requires_grad_(True) if isinstance(norm, nn.Module) else nn.Identity()
        self.matrix, self.projection = None, None
        if isinstance(projection, Tensor):
            self.matrix = nn.Parameter(projection.detach().clone())
        elif projection is not None:
            self.projection = copy.deepcopy(projection).requires_grad_(True)

    def forward(self, rows: Tensor) -> Tensor:
        """Rows (..., D_v) -> features (..., D)."""
        x = run_as(self.norm, rows)
        if self.matrix is not None:
            return x @ self.matrix.to(x)
        return x if self.projection is None else run_as(self.projection, x)


def tower_with_exits(backbone: FrozenCLIP, depths: Sequence[int]) -> VisionTower:
    """The image tower, if the class token's row is its feature at any depth.

    Raises:
        ValueError: if it has no blocks, pools its rows, has a wrapper's step behind its blocks, or has fewer blocks
            than a depth asks for.
    """
    tower = backbone.require_vit_blocks("matryoshka with exits")
    if tower.pool is not None:
        raise ValueError(
            f"matryoshka with exits reads the class token behind a block, and the image tower of {backbone.name} pools "
            "all rows; leave depths empty, or take a backbone such as ViT-B-16"
        )
    if tower.behind_blocks is not None or tower.behind_projection is not None:
        raise ValueError(
            "matryoshka with exits ends at a block, and lm4visual has put a step behind the image tower's last one, "
            "which an exit would leave out; leave depths empty (for matryoshka_exits: depth=0)"
        )
    for depth in depths:
        if not 1 <= depth <= tower.depth:
            raise ValueError(
                f"depth {depth} is outside of the image tower of {backbone.name}, which has {tower.depth} blocks; "
                f"choose depths from 1 to {tower.depth}"
            )
    return tower


def class_rows(tower: VisionTower, images: Tensor, depths: Sequence[int]) -> Tensor:
    """Class-token rows (B, E, D_v) of preprocessed images (B, 3, H, W) behind each of these depths, in ascending order.

    As many blocks run as the last depth says, and the last of them computes one row only.
    """
    x, rows = embed_patches(tower, images), []
    for depth, block in enumerate(tower.blocks[: depths[-1]], start=1):
        if depth == depths[-1]:
            rows.append(run_last_block(block, x))
        else:
            x = run_block(block, x)
            if depth in depths:
                rows.append(x[:, 0])
    return at_least_fp32(torch.stack(rows, dim=1))
