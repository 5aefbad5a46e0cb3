"""Multiply-accumulates of CLIP's towers with skipped blocks and adapters, by formula, as plain counts.

For n tokens of width d, a block with any number of heads and an MLP 4 d wide costs 12 n d^2 + 2 n^2 d, and an adapter r
wide costs 2 n d r. A tower that needs one row of its output computes less: in the last block that attends, only that
row has a query and goes through the MLP, and a skipped block behind it has one row (`rows="needed"`). Where tokens are
merged or dropped behind a block's attention, its MLP and all later blocks have the fewer tokens. Pools that attend to
the patches are left out, and so is the choice of the tokens that go.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.towers.block import is_gone
from adaptkit.towers.shortening import lengths
from adaptkit.towers.text import TextTower
from adaptkit.towers.vision import VisionTower

Rows = Literal["all", "needed"]


@dataclass(frozen=True)
class TowerShape:
    """The sizes of a tower that the formulas need."""

    depth: int
    tokens: int  # Number of tokens n.
    width: int  # Width d of the tower.
    mlp_width: int  # Of two layers; for gated MLPs, of two that cost the same.
    around: int  # Work outside the blocks: patches and projection.
    needed: int = 1  # Number of output rows that the feature is made of: 1, or all.


@dataclass(frozen=True)
class AdapterShape:
    """Bottleneck widths of DAS's adapters, and their number beside a kept block."""

    skip: int
    kept: int
    per_kept_block: int = 1


def block_macs(
    shape: TowerShape, rows: int | None = None, tokens: int | None = None, mlp_rows: int | None = None
) -> int:
    """Multiply-accumulates of one block, with queries and MLP for all its tokens or for `rows` of them.

    Args:
        tokens: its tokens, where they are not those of the tower any more.
        mlp_rows: tokens that its MLP has, where its attention is followed by fewer.
    """
    n, d = tokens or shape.tokens, shape.width
    m = n if rows is None else rows
    projections = 2 * m * d * d + 2 * n * d * d  # Query and output; key and value.
    return projections + 2 * m * n * d + 2 * (mlp_rows or m) * d * shape.mlp_width


def tower_macs(
    shape: TowerShape,
    skipped: Sequence[int] = (),
    adapters: AdapterShape | None = None,
    rows: Rows = "all",
    behind: Sequence[int] | None = None,
) -> int:
    """Multiply-accumulates of one image or text through a tower without its `skipped` blocks, `adapters` included.

    Args:
        behind: tokens behind each block, where tokens are merged or dropped on the way.
    """
    kept = [block for block in range(shape.depth) if block not in skipped]
    last = max(kept, default=-1)
    all_behind = [shape.tokens] * shape.depth if behind is None else list(behind)
    total = shape.around
    for block, (before, left) in enumerate(zip([shape.tokens, *all_behind], all_behind, strict=False)):
        one_row = rows == "needed" and block >= last and shape.needed == 1
        n_queries, n_mlp = (1, 1) if one_row else (before, left)
        if adapters is not None:
            # One reads what the MLP reads, and a second what the attention does.
            times = [n_mlp, n_queries][: adapters.per_kept_block]
            of_adapters = n_queries * adapters.skip if block in skipped else sum(times) * adapters.kept
            total += 2 * shape.width * of_adapters
        if block not in skipped:
            total += block_macs(shape, n_queries, before, n_mlp)
    return total


def image_shape(backbone: FrozenCLIP) -> TowerShape:
    """Shape of the image tower.

    Raises:
        ValueError: if it has no blocks of a CLIP vision transformer.
    """
    tower = backbone.require_vit_blocks("counting blocks")
    tokens = tower.n_prefix + tower.n_patches
    around = _embedding_macs(backbone, tower.conv1) + _projection_macs(tower.projection)
    needed = 1 if tower.pool is None else tokens
    return TowerShape(tower.depth, tokens, tower.width, _mlp_width(tower), around, needed)


def image_lengths(backbone: FrozenCLIP, skipped: Sequence[int] = ()) -> tuple[int, ...] | None:
    """Tokens behind each block of an image tower that merges or drops some; None for one that does not."""
    tower = backbone.require_vit_blocks("counting tokens")
    if tower.shortening is None:
        return None
    tokens = tower.n_prefix + tower.n_patches
    return lengths(tower.shortening, tower.depth, tokens, skipped, shortens_last=tower.pool is not None)


def macs_behind_blocks(backbone: FrozenCLIP, skipped: Sequence[int] = ()) -> int:
    """Work of what wrappers put behind the last block and behind the projection of an image tower."""
    tower = backbone.require_vit_blocks("counting what stands behind blocks")
    left = image_lengths(backbone, skipped) or (tower.n_prefix + tower.n_patches,)
    parts = (tower.behind_blocks, left[-1]), (tower.behind_projection, 1)
    return sum(part.macs(rows) for part, rows in parts if part is not None)


def text_shape(backbone: FrozenCLIP, tokens: int | None = None) -> TowerShape:
    """Shape of the text tower for texts of `tokens` tokens, or of the whole context."""
    tower = backbone.text_tower
    if tower is None:
        raise ValueError(f"the text tower of {backbone.name} is none whose blocks can be counted")
    around = _projection_macs(tower.projection)
    return TowerShape(tower.depth, tokens or backbone.context_length, tower.width, _mlp_width(tower), around)


def _mlp_width(tower: TextTower | VisionTower) -> int:
    """Width inside a block's MLP, or 0 if every block is gone."""
    mlps = (block.mlp for block in tower.blocks if not is_gone(block))
    weights = next(([weight for weight in mlp.parameters() if weight.ndim == 2] for mlp in mlps), [])
    return sum(weight.numel() for weight in weights) // (2 * tower.width)


def _projection_macs(projection: Tensor | nn.Module | None) -> int:
    """Work of the projection of one row."""
    if projection is None:
        return 0
    weights = [projection] if isinstance(projection, Tensor) else projection.parameters()
    return sum(weight.numel() for weight in weights if weight.ndim == 2)


@torch.no_grad()
def _embedding_macs(backbone: FrozenCLIP, conv1: nn.Module) -> int:
    """Work of the convolutions that make the patches of one image."""
    counts: list[int] = []
    hooks = [
        layer.register_forward_hook(lambda layer, _, y: counts.append(y[0, 0].numel() * layer.weight.numel()))
        for layer in conv1.modules()
        if isinstance(layer, nn.Conv2d)
    ]
    conv1(torch.zeros(1, 3, *backbone.preprocess_cfg.image_size, dtype=backbone.dtype, device=backbone.device))
    for hook in hooks:
        hook.remove()
    return sum(counts)
