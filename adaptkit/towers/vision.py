"""The vision tower of CLIP as plain functions over patches; prompts and skipped blocks are arguments.

The last block that attends computes only the tower's output row past the keys and values.

Letters: B images, P patches, n prompt tokens, D joint width, D_v width of the vision tower.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adaptkit.towers.block import (
    NO_PROMPTS,
    Block,
    last_attending,
    replace_tokens,
    run_block,
    run_first_rows,
    run_last_block,
    run_last_block_rows,
    stand_in,
)


@dataclass(frozen=True)
class VisionTower:
    """The parts of an open_clip vision transformer that pools its class token."""

    conv1: nn.Conv2d
    class_embedding: Tensor  # (D_v,)
    positional_embedding: Tensor  # (1 + P, D_v)
    ln_pre: Callable[[Tensor], Tensor]
    blocks: Sequence[Block]
    ln_post: Callable[[Tensor], Tensor]
    projection: Tensor | None  # (D_v, D)

    @property
    def width(self) -> int:
        return self.class_embedding.shape[-1]

    @property
    def depth(self) -> int:
        return len(self.blocks)

    def project(self, x: Tensor) -> Tensor:
        """Project output rows (..., D_v) to features (..., D)."""
        x = self.ln_post(x)
        return x if self.projection is None else x @ self.projection


def embed_patches(tower: VisionTower, images: Tensor) -> Tensor:
    """Images (B, 3, H, W) -> class token and patches (B, 1 + P, D_v), the input of the first block."""
    patches = tower.conv1(images.to(tower.conv1.weight.dtype)).flatten(2).transpose(1, 2)  # (B, P, D_v)
    class_token = tower.class_embedding.to(patches.dtype).expand(images.shape[0], 1, -1)
    return tower.ln_pre(torch.cat([class_token, patches], dim=1) + tower.positional_embedding.to(patches.dtype))


def encode_image(tower: VisionTower, images: Tensor, prompts: Mapping[int, Tensor] = NO_PROMPTS) -> Tensor:
    """Images (B, 3, H, W) -> features (B, D), not normalised."""
    return encode_patches(tower, embed_patches(tower, images), prompts)


def encode_patches(tower: VisionTower, x: Tensor, prompts: Mapping[int, Tensor] = NO_PROMPTS) -> Tensor:
    """Embedded patches (B, 1 + P, D_v) -> features (B, D), not normalised.

    Args:
        prompts: layer -> (n, D_v) or (B, n, D_v). Prompts of layer 0 are appended behind the patches, through `ln_pre`
            and without a position; prompts of a later layer replace the last n rows before their block. At a skipped
            block they pass through its stand-in, so the next layer's own prompts leave them no effect.

    Raises:
        ValueError: if a later layer has prompts and layer 0 has none, or a different number.
    """
    if last_attending(tower.blocks) < 0:  # No row sees another, so the class token's is enough.
        return tower.project(_run_blocks(tower, x[:, :1], NO_PROMPTS, run_last_block)[:, 0])
    return tower.project(_run_blocks(tower, x, prompts, run_last_block))


def encode_rows(tower: VisionTower, images: Tensor, prompts: Mapping[int, Tensor] = NO_PROMPTS) -> Tensor:
    """Images (B, 3, H, W) -> output rows (B, 1 + P, D_v) of the last block: class token, then patches, no prompts.

    `tower.project` of the class token's row equals `encode_image` to the last bit.
    """
    x = embed_patches(tower, images)
    return _run_blocks(tower, x, prompts, run_last_block_rows)[:, : x.shape[1]]


def _run_blocks(
    tower: VisionTower, x: Tensor, prompts: Mapping[int, Tensor], run_last: Callable[[Block, Tensor], Tensor]
) -> Tensor:
    """Run embedded patches (B, 1 + P, D_v) through all blocks, using `run_last` for the last that attends.

    Outputs of prompts that are replaced right behind a block are not computed.
    """
    n = prompts[0].shape[-2] if 0 in prompts else 0
    if any(prompt.shape[-2] != n for prompt in prompts.values()):
        raise ValueError(
            f"vision prompts per layer: { {layer: prompt.shape[-2] for layer, prompt in prompts.items()} }; "
            "every layer needs as many as layer 0"
        )
    n_rows = x.shape[1]
    if n:
        x = torch.cat([x, tower.ln_pre(prompts[0].to(x.dtype)).expand(x.shape[0], -1, -1)], dim=1)
    last = last_attending(tower.blocks)
    for layer, block in enumerate(tower.blocks):
        if 0 < layer <= last and layer in prompts:
            x = replace_tokens(x, n_rows, prompts[layer])
        if layer == last:
            x = run_last(block, x)  # Behind it x may be (B, D_v).
        elif layer + 1 in prompts and stand_in(block) is None:
            x = run_first_rows(block, x, n_rows)
        else:
            x = run_block(block, x)
    return x
