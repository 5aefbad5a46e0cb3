"""BlockView: a frozen block with some parts replaced; the block itself and the backbone stay as they are."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.towers.attention import AttentionLayer
from adaptkit.towers.block import Block, is_gone, is_supported_block, run_block
from adaptkit.towers.text import TextTower
from adaptkit.towers.vision import VisionTower


class BlockView(nn.Module):
    """A block that shares every part of another, except for the given replacements.

    Args:
        block: a frozen pre-norm block.
        parts: replacements by name, such as `attn` or `mlp`.
    """

    ln_1: Callable[[Tensor], Tensor]
    attn: AttentionLayer
    ln_2: Callable[[Tensor], Tensor]
    mlp: nn.Module

    def __init__(self, block: Block, **parts: nn.Module):
        super().__init__()
        assert isinstance(block, nn.Module)
        for name, part in {**dict(block.named_children()), **parts}.items():
            self.add_module(name, part)

    def forward(self, x: Tensor, *, attn_mask: Tensor | None = None) -> Tensor:
        """Run the block: x (N, L, width) -> (N, L, width).

        Args:
            attn_mask: numbers added to the scores, (L, L) or (N * heads, L, L).
        """
        if attn_mask is not None and attn_mask.ndim == 3:
            attn_mask = attn_mask.unflatten(0, (len(x), -1))
        return run_block(self, x, attn_mask)


def require_text_blocks(backbone: FrozenCLIP, asked_by: str) -> TextTower:
    """The text tower, or an error if its blocks cannot take learnt layers.

    Raises:
        ValueError: if the text tower has no blocks whose parts can be replaced; the message names `asked_by`.
    """
    tower = backbone.text_tower
    if tower is None or not all(is_supported_block(block) for block in tower.blocks):
        raise ValueError(
            f"{asked_by} needs a text tower with open_clip's pre-norm blocks, and that of {backbone.name} has none; "
            'use encoder="vision", or a method that works on features such as clip_adapter'
        )
    return tower


def chosen_layers(asked: Sequence[int], tower: TextTower | VisionTower, option: str) -> list[int]:
    """Layer numbers in ascending order: all layers if `asked` is empty; negative numbers count from the last.

    Blocks that the tower skips for good are left out, because no part of them remains.

    Raises:
        ValueError: if a layer is not in the tower.
    """
    depth = tower.depth
    for layer in asked:
        if not -depth <= layer < depth:
            raise ValueError(f"{option} names block {layer}; the tower has blocks 0 to {depth - 1} (or -1 to -{depth})")
    layers = sorted({layer % depth for layer in asked}) if asked else range(depth)
    return [layer for layer in layers if not is_gone(tower.blocks[layer])]
