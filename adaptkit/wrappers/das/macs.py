"""Multiply-accumulates of CLIP's towers with skipped blocks and adapters, by formula; units of one, not of a million.

For n tokens of width d, a block with heads of any number and an MLP 4 d wide is 12 n d^2 + 2 n^2 d, and an adapter r
wide 2 n d r. A tower that needs one row of its output computes less: in the last block that attends, only that row has
a query and goes through the MLP, and a skipped block behind it has one row (`rows="needed"`).
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
    """What the formulas need to know of a tower."""

    depth: int
    tokens: int  # n
    width: int  # d
    mlp_width: int
    around: int  # in front of the first block and behind the last: patches and projection


@dataclass(frozen=True)
class AdapterShape:
    """How wide DAS's adapters are inside, and how many stand beside a kept block."""

    skip: int
    kept: int
    per_kept_block: int = 1


def block_macs(shape: TowerShape, rows: int | None = None) -> int:
    """One block over all its tokens, or with queries and MLP for `rows` of them."""
    n, d = shape.tokens, shape.width
    m = n if rows is None else rows
    projections = 2 * m * d * d + 2 * n * d * d  # queries and output; keys and values
    return projections + 2 * m * n * d + 2 * m * d * shape.mlp_width


def tower_macs(
    shape: TowerShape, skipped: Sequence[int] = (), adapters: AdapterShape | None = None, rows: Rows = "all"
) -> int:
    """One image, or one text, through a tower whose `skipped` blocks are gone; without `adapters` there are none."""
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
    """The image tower's shape.

    Raises:
        ValueError: if it has no blocks of a CLIP vision transformer.
    """
    tower = backbone.require_vit_blocks("counting blocks")
    patches, width = len(tower.positional_embedding) - 1, tower.width
    kernel = tower.conv1.weight[0].numel()
    projection = 0 if tower.projection is None else tower.projection.numel()
    return TowerShape(tower.depth, patches + 1, width, _mlp_width(tower), patches * width * kernel + projection)


def text_shape(backbone: FrozenCLIP, tokens: int | None = None) -> TowerShape:
    """The text tower's shape for texts of so many tokens; by default for the whole context."""
    tower = backbone.text_tower
    if tower is None:
        raise ValueError(f"the text tower of {backbone.name} is none whose blocks can be counted")
    projection = tower.projection.weight if isinstance(tower.projection, nn.Linear) else tower.projection
    around = 0 if projection is None else projection.numel()
    return TowerShape(tower.depth, tokens or backbone.context_length, tower.width, _mlp_width(tower), around)


def _mlp_width(tower: TextTower | VisionTower) -> int:
    """The rows of the first linear layer of a block's MLP; 0 where every block is gone."""
    mlps = (block.mlp for block in tower.blocks if not is_gone(block))
    weights = (weight for mlp in mlps for weight in mlp.parameters() if weight.ndim == 2)
    return next((len(weight) for weight in weights), 0)
