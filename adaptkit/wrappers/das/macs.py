"""Multiply-accumulates of CLIP's towers with skipped blocks and adapters, by formula, as plain counts.

For n tokens of width d, a block with any number of heads and an MLP 4 d wide costs 12 n d^2 + 2 n^2 d, and an adapter r
wide costs 2 n d r. A tower that needs one row of its output computes less: in the last block that attends, only that
row has a query and goes through the MLP, and a skipped block behind it has one row (`rows="needed"`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.towers.block import is_gone
from adaptkit.towers.text import TextTower
from adaptkit.towers.vision import VisionTower

Rows = Literal["all", "needed"]


@dataclass(frozen=True)
class TowerShape:
    """The sizes of a tower that the formulas need."""

    depth: int
    tokens: int  # Number of tokens n.
    width: int  # Width d of the tower.
    mlp_width: int
    around: int  # Work outside the blocks: patches and projection.


@dataclass(frozen=True)
class AdapterShape:
    """Bottleneck widths of DAS's adapters, and their number beside a kept block."""

    skip: int
    kept: int
    per_kept_block: int = 1


def block_macs(shape: TowerShape, rows: int | None = None) -> int:
    """Multiply-accumulates of one block, with queries and MLP for all its tokens or for `rows` of them."""
    n, d = shape.tokens, shape.width
    m = n if rows is None else rows
    projections = 2 * m * d * d + 2 * n * d * d  # Query and output; key and value.
    return projections + 2 * m * n * d + 2 * m * d * shape.mlp_width


def tower_macs(
    shape: TowerShape, skipped: Sequence[int] = (), adapters: AdapterShape | None = None, rows: Rows = "all"
) -> int:
    """Multiply-accumulates of one image or text through a tower without its `skipped` blocks, `adapters` included."""
    kept = [block for block in range(shape.depth) if block not in skipped]
    last = max(kept, default=-1)
    total = shape.around
    for block in range(shape.depth):
        one_row = rows == "needed" and block >= last
        n = 1 if one_row else shape.tokens
        inside = 0 if adapters is None else adapters.skip if block in skipped else adapters.kept
        times = 1 if adapters is None or block in skipped else adapters.per_kept_block
        total += times * 2 * n * shape.width * inside
        if block not in skipped:
            total += block_macs(shape, rows=n)
    return total


def image_shape(backbone: FrozenCLIP) -> TowerShape:
    """Shape of the image tower.

    Raises:
        ValueError: if it has no blocks of a CLIP vision transformer.
    """
    tower = backbone.require_vit_blocks("counting blocks")
    patches, width = len(tower.positional_embedding) - 1, tower.width
    kernel = tower.conv1.weight[0].numel()
    projection = 0 if tower.projection is None else tower.projection.numel()
    return TowerShape(tower.depth, patches + 1, width, _mlp_width(tower), patches * width * kernel + projection)


def text_shape(backbone: FrozenCLIP, tokens: int | None = None) -> TowerShape:
    """Shape of the text tower for texts of `tokens` tokens, or of the whole context."""
    tower = backbone.text_tower
    if tower is None:
        raise ValueError(f"the text tower of {backbone.name} is none whose blocks can be counted")
    projection = tower.projection.weight if isinstance(tower.projection, nn.Linear) else tower.projection
    around = 0 if projection is None else projection.numel()
    return TowerShape(tower.depth, tokens or backbone.context_length, tower.width, _mlp_width(tower), around)


def _mlp_width(tower: TextTower | VisionTower) -> int:
    """Width inside a block's MLP, or 0 if every block is gone."""
    mlps = (block.mlp for block in tower.blocks if not is_gone(block))
    weights = (weight for mlp in mlps for weight in mlp.parameters() if weight.ndim == 2)
    return next((len(weight) for weight in weights), 0)
