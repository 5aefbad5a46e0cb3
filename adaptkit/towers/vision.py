"""The vision tower of CLIP as plain functions over patches; prompts and skipped blocks are arguments.

The last block that attends computes only the rows that the feature is made of, past the keys and values: the class
token's, or the class token's and the patches' where they are pooled.

Letters: B images, P patches, n prompt tokens, R rows of the tower (class and register tokens, then patches), D joint
width, D_v width of the vision tower, D_p width of what is projected (D_v but for CoCa, whose pool changes it).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from adaptkit.towers.block import (
    NO_PROMPTS,
    Block,
    last_attending,
    replace_tokens,
    run_block,
    run_first_and_last_rows,
    run_first_rows,
    run_last_block,
    run_last_block_rows,
    stand_in,
)
from adaptkit.towers.entering import Entering
from adaptkit.towers.pooling import AttentionPool, PatchMean
from adaptkit.towers.shortening import Rows, RunLast, Shortening, gain_of_sizes, run_beside, run_shortened
from adaptkit.towers.watch import Home


class BehindBlocks(Protocol):
    """What a wrapper puts behind the last block, in front of the tower's last norm and pool."""

    def __call__(self, x: Tensor, gain: Tensor | None) -> Tensor:
        """Rows (B, n, D_v) without prompts -> rows (B, n, D_v).

        Args:
            gain: what the scores of merged rows gain as keys, (B, 1, 1, n); None where no row was merged.
        """
        ...

    def macs(self, rows: int) -> int:
        """Multiply-accumulates that it takes for so many rows of an image."""
        ...


class BehindProjection(Protocol):
    """What a wrapper puts behind the projection."""

    def __call__(self, x: Tensor) -> Tensor:
        """Features (..., D) -> features (..., D), not normalised."""
        ...

    def macs(self, rows: int) -> int:
        """Multiply-accumulates that it takes for an image."""
        ...


@dataclass(frozen=True)
class VisionTower:
    """The parts of a vision transformer, open_clip's own or timm's."""

    conv1: nn.Module  # Images (B, 3, H, W) -> patches: (B, D_v, rows, columns), (B, P, D_v), or channels last.
    channels_last: bool  # Whether patches come as (B, rows, columns, D_v).
    grid: tuple[int, int]  # Rows and columns of patches.
    width: int  # D_v
    prefix: tuple[Tensor, ...]  # Class token and register tokens, (..., D_v) each, in front of the patches.
    positional_embedding: Tensor | None  # (..., R, D_v), or (..., P, D_v) of patches alone
    ln_pre: Callable[[Tensor], Tensor]
    blocks: Sequence[Block]
    ln_post: Callable[[Tensor], Tensor]
    # What makes one row of all; None takes the class token's.
    pool: PatchMean | AttentionPool | None
    pools_normed: bool  # Whether `ln_post` stands in front of the pool.
    projection: Tensor | nn.Module | None  # (D_p, D)
    homes: tuple[Home, ...] = ()  # Where the tensors come from, see `watch.current`.
    typed_by: Home | None = None  # The frozen weight in whose type a tower of learnt weights computes.
    shortening: Shortening | None = None  # What merges or drops rows on the way through the blocks.
    behind_blocks: BehindBlocks | None = None
    behind_projection: BehindProjection | None = None
    entering: Entering | None = None  # Tokens that enter behind the patches on the way through the blocks.

    @property
    def depth(self) -> int:
        return len(self.blocks)

    @property
    def device(self) -> torch.device:
        return next(self.conv1.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the patch embedding, to which images are cast."""
        frozen = None if self.typed_by is None else self.typed_by.tensor()
        return (self.typing_weight if frozen is None else frozen).dtype

    @property
    def typing_weight(self) -> Tensor:
        """The weight in whose type the tower computes, unless `typed_by` says another."""
        return next(self.conv1.parameters())

    @property
    def n_patches(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def n_prefix(self) -> int:
        """Number of class and register tokens."""
        return sum(tokens.numel() // self.width for tokens in self.prefix)

    @property
    def shortens(self) -> bool:
        """Whether rows are merged or dropped on the way now."""
        return self.shortening is not None and self.shortening.active

    @property
    def row_width(self) -> int:
        """Width D_p of the rows of `encode_rows`."""
        return self.pool.width if isinstance(self.pool, AttentionPool) else self.width

    def normed(self, x: Tensor) -> Tensor:
        """Output rows (..., D_p) as the projection reads them."""
        return x if self.pools_normed else self.ln_post(x)

    def project(self, x: Tensor) -> Tensor:
        """Project output rows (..., D_p) to features (..., D)."""
        x = self.normed(x)
        if self.projection is not None:
            x = x @ self.projection if isinstance(self.projection, Tensor) else self.projection(x)
        return x if self.behind_projection is None else self.behind_projection(x)


def embed_patches(tower: VisionTower, images: Tensor) -> Tensor:
    """Images (B, 3, H, W) -> class token, register tokens and patches (B, R, D_v), the input of the first block."""
    patches = tower.conv1(images.to(tower.dtype))
    if patches.ndim == 4:
        patches = patches.flatten(1, 2) if tower.channels_last else patches.flatten(2).transpose(1, 2)  # (B, P, D_v)
    positions = tower.positional_embedding
    prefix = [
        tokens.reshape(1, -1, tower.width).to(patches.dtype).expand(images.shape[0], -1, -1) for tokens in tower.prefix
    ]
    if positions is not None and positions.shape[-2] == patches.shape[1]:
        return tower.ln_pre(torch.cat([*prefix, patches + positions.to(patches.dtype)], dim=1))
    x = torch.cat([*prefix, patches], dim=1)
    return tower.ln_pre(x if positions is None else x + positions.to(patches.dtype))


def encode_image(tower: VisionTower, images: Tensor, prompts: Mapping[int, Tensor] = NO_PROMPTS) -> Tensor:
    """Images (B, 3, H, W) -> features (B, D), not normalised."""
    return encode_patches(tower, embed_patches(tower, images), prompts)


def encode_patches(tower: VisionTower, x: Tensor, prompts: Mapping[int, Tensor] = NO_PROMPTS) -> Tensor:
    """Embedded patches (B, R, D_v) -> features (B, D), not normalised.

    Args:
        prompts: layer -> (n, D_v) or (B, n, D_v). Prompts of layer 0 are appended behind the patches, through `ln_pre`
            and without a position; prompts of a later layer replace the last n rows before their block. At a skipped
            block they pass through its stand-in, so the next layer's own prompts leave them no effect. Where patches
            are pooled, prompts are not: they act through attention alone.

    Raises:
        ValueError: if a later layer has prompts and layer 0 has none, or a different number.
    """
    if tower.entering is not None:
        assert not prompts
        return encode_with_tokens(tower, x)[0]
    if tower.pool is not None:
        return tower.project(tower.pool(_rows_to_pool(tower, x, prompts).to_pool()))
    if tower.behind_blocks is not None:
        return tower.project(rows_behind_blocks(tower, x, prompts).x[:, 0])
    if last_attending(tower.blocks) < 0:  # No row sees another, so the class token's is enough.
        return tower.project(_run_blocks(tower, x[:, :1], NO_PROMPTS, run_last_block)[:, 0])
    if tower.shortens:
        return tower.project(_run_shortened(tower, x, prompts, run_last_block).x)
    return tower.project(_run_blocks(tower, x, prompts, run_last_block))


def encode_with_tokens(tower: VisionTower, x: Tensor, begin: int = 0) -> tuple[Tensor, Tensor]:
    """Embedded patches (B, R, D_v) -> features (B, D), not normalised, and the rows (B, n, D_p) of tokens that entered.

    The rows are behind the last norm, ready for a projection; where patches are pooled, each is pooled alone.

    Args:
        begin: the first block to run, which reads x.
    """
    if tower.pool is None and tower.behind_blocks is None:
        rows, tokens = _run_entered(tower, x, "feature", begin)
    else:
        run_last = None if tower.pool is not None else run_last_block_rows
        rows, tokens = _run_entered(tower, x, run_last, begin)
        rows = _behind_blocks(tower, rows)
    if tower.pool is None:
        return tower.project(rows.x[:, 0]), tower.ln_post(tokens)
    if tower.pools_normed:
        rows, tokens = replace(rows, x=tower.ln_post(rows.x)), tower.ln_post(tokens)
    feature, tokens = tower.project(tower.pool(rows.to_pool())), tower.pool.alone(tokens)
    return feature, tokens if tower.pools_normed else tower.ln_post(tokens)


def encode_rows(tower: VisionTower, images: Tensor, prompts: Mapping[int, Tensor] = NO_PROMPTS) -> Tensor:
    """Images (B, 3, H, W) -> rows (B, 1 + P, D_p): the one that becomes the feature, then the patches', no prompts.

    `tower.project` of the first row equals `encode_image` to the last bit. That row is the class token's output, or
    what the tower pools; each patch is then given as if it were pooled alone, so that `tower.project` fits it too. A
    patch that was merged or dropped on the way has the row that stands for it.
    """
    x = embed_patches(tower, images)
    if tower.pool is not None:
        found = _rows_to_pool(tower, x, prompts)
        patches = found.spread()[:, tower.n_prefix :]
        return torch.cat([tower.pool(found.to_pool())[:, None], tower.pool.alone(patches)], dim=1)
    rows = rows_behind_blocks(tower, x, prompts).spread()
    return rows if tower.n_prefix == 1 else torch.cat([rows[:, :1], rows[:, tower.n_prefix :]], dim=1)


def rows_behind_blocks(tower: VisionTower, x: Tensor, prompts: Mapping[int, Tensor] = NO_PROMPTS) -> Rows:
    """Embedded patches (B, R, D_v) -> rows behind the last block and what a wrapper puts there, without prompts."""
    n_rows, pools = x.shape[1], tower.pool is not None
    if tower.entering is not None:
        assert not prompts
        rows, _ = _run_entered(tower, x, None if pools else run_last_block_rows)
    elif tower.shortens and (pools or last_attending(tower.blocks) >= 0):
        rows = _run_shortened(tower, x, prompts, None if pools else run_last_block_rows)
    else:
        run_last = partial(run_first_rows, n_rows=n_rows) if pools else run_last_block_rows
        rows = Rows(_run_blocks(tower, x, prompts, run_last)[:, :n_rows])
    return _behind_blocks(tower, rows)


def _behind_blocks(tower: VisionTower, rows: Rows) -> Rows:
    """Rows behind the last block -> what a wrapper makes of them there."""
    if tower.behind_blocks is None:
        return rows
    return replace(rows, x=tower.behind_blocks(rows.x, gain_of_sizes(tower.shortening, rows, rows.x)))


def feature_of_rows(tower: VisionTower, rows: Tensor) -> Tensor:
    """Rows (B, R, D_v) behind the last block, none of them merged -> features (B, D), not normalised."""
    if tower.pool is None:
        return tower.project(rows[:, 0])
    return tower.project(tower.pool(tower.ln_post(rows) if tower.pools_normed else rows))


def _rows_to_pool(tower: VisionTower, x: Tensor, prompts: Mapping[int, Tensor]) -> Rows:
    """Output rows without prompts, normalised if the tower pools normalised rows."""
    rows = rows_behind_blocks(tower, x, prompts)
    return replace(rows, x=tower.ln_post(rows.x)) if tower.pools_normed else rows


def _run_entered(
    tower: VisionTower, x: Tensor, run_last: RunLast | Literal["feature"] | None, begin: int = 0
) -> tuple[Rows, Tensor]:
    """Run a tower with tokens that enter on embedded patches (B, R, D_v): its rows, and those of the tokens.

    Args:
        run_last: as in `run_beside`; "feature" computes the first row and the tokens' alone.
    """
    assert tower.entering is not None
    entered, shortening = tower.entering(), tower.shortening if tower.shortens else None
    if run_last == "feature":
        has_entered = min(entered.tokens) <= last_attending(tower.blocks)
        n = next(iter(entered.tokens.values())).shape[-2] if has_entered else 0
        run_last = partial(run_first_and_last_rows, n_last=n)
    return run_beside(tower.blocks, shortening, x, entered, run_last, reads_tokens=True, begin=begin)


def _run_shortened(tower: VisionTower, x: Tensor, prompts: Mapping[int, Tensor], run_last: RunLast | None) -> Rows:
    """Run embedded patches (B, R, D_v) through all blocks of a tower that shortens the sequence."""
    assert tower.shortening is not None
    n = _prompts_per_layer(prompts)
    first = {0: tower.ln_pre(prompts[0].to(x.dtype))} if n else {}
    return run_shortened(tower.blocks, tower.shortening, x, {**prompts, **first}, run_last)


def _prompts_per_layer(prompts: Mapping[int, Tensor]) -> int:
    """Number of prompts of each layer that has any, which is the same for all.

    Raises:
        ValueError: if it is not.
    """
    n = prompts[0].shape[-2] if 0 in prompts else 0
    if any(prompt.shape[-2] != n for prompt in prompts.values()):
        raise ValueError(
            f"vision prompts per layer: { {layer: prompt.shape[-2] for layer, prompt in prompts.items()} }; "
            "every layer needs as many as layer 0"
        )
    return n


def _run_blocks(
    tower: VisionTower, x: Tensor, prompts: Mapping[int, Tensor], run_last: Callable[[Block, Tensor], Tensor]
) -> Tensor:
    """Run embedded patches (B, R, D_v) through all blocks, using `run_last` for the last that attends.

    Outputs of prompts that are replaced right behind a block are not computed.
    """
    n, n_rows = _prompts_per_layer(prompts), x.shape[1]
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
