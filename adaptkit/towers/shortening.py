"""The blocks of a vision tower over fewer and fewer rows: between attention and MLP a block may merge or drop some.

What is merged and dropped is a wrapper's `Shortening`; this module runs the blocks around it. Prompts stand behind the
rows and are never given to it. A merged row can count in attention as often as rows were merged into it.

Letters: B images, R rows of the whole tower (class and register tokens, then patches), n rows that are left, m rows
that go in one step, D_v width of the tower, H heads, d width of a head.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from adaptkit.towers import attention
from adaptkit.towers.block import (
    Block,
    add_attention,
    add_mlp,
    beside_block,
    last_attending,
    run_block,
    run_first_rows,
    stand_in,
)
from adaptkit.towers.entering import Entered

RunLast = Callable[[Block, Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class Matching:
    """One step from `n_before` rows to fewer: which stay, which go, and which of those that stay stands for them."""

    n_before: int
    kept: Tensor  # (B, n) int64, rows that stay, in their new order
    source: Tensor  # (B, m) int64, rows that go
    target: Tensor  # (B, m) int64, for each of them the new place of the row that stands for it
    n_dropped: int = 0  # rows behind those of before that nothing stands for

    def new_places(self) -> Tensor:
        """For every row of before, the new place of itself or of the row that stands for it: (B, n_before) int64."""
        places = torch.zeros(self.kept.shape[0], self.n_before, dtype=torch.int64, device=self.kept.device)
        own = torch.arange(self.kept.shape[1], device=self.kept.device).expand_as(self.kept)
        return places.scatter(1, self.kept, own).scatter(1, self.source, self.target)


def rows_at(x: Tensor, places: Tensor) -> Tensor:
    """Rows of x (B, n, D) at places (B, l) int64 -> (B, l, D)."""
    first = x.shape[1] * torch.arange(x.shape[0], device=x.device)[:, None]
    # Whole rows at once are found several times faster than by `gather`, which looks up every number.
    return x.flatten(0, 1).index_select(0, (first + places).flatten()).unflatten(0, places.shape)


@dataclass(frozen=True)
class Rows:
    """What is left of an image's rows."""

    x: Tensor  # (B, n, D_v)
    sizes: Tensor | None = None  # (B, n, 1), rows that each has the average of; None while that is one of each
    steps: tuple[Matching, ...] = ()  # from the whole tower's rows to these

    def spread(self) -> Tensor:
        """Rows (B, R, D_v) of the whole tower, each with what stands for it now."""
        if not self.steps:
            return self.x
        places = self.steps[-1].new_places()
        for step in reversed(self.steps[:-1]):
            places = places.gather(1, step.new_places())
        return rows_at(self.x, places)

    def to_pool(self) -> Tensor:
        """Rows for a pool, in which a merged row counts as often as its size says: what was dropped is not there."""
        return self.x if self.sizes is None else self.spread()


class Shortening(Protocol):
    """What shortens the sequence."""

    active: bool  # whether it does so now
    proportional: bool  # whether a merged row counts in attention as often as its size says

    def __call__(self, layer: int, rows: Rows, q: Tensor, k: Tensor) -> Rows:
        """Rows behind the attention of block `layer` -> the rows that go on to its MLP.

        Args:
            q, k: the block's queries and keys of these rows (B, H, n, d), normalised where the block does that.
        """
        ...

    def left(self, layer: int, n: int) -> int:
        """Rows that are left behind block `layer` of n in front of it."""
        ...


def lengths(shorten: Shortening, depth: int, n: int, skipped: Sequence[int], shortens_last: bool) -> tuple[int, ...]:
    """Rows behind each of `depth` blocks for a tower of n rows.

    Args:
        skipped: blocks that are skipped, where nothing is shortened.
        shortens_last: whether the last block that attends shortens too.
    """
    attending = [layer for layer in range(depth) if layer not in skipped]
    counts = []
    for layer in range(depth):
        if layer in attending and (shortens_last or layer < attending[-1]):
            n = shorten.left(layer, n)
        counts.append(n)
    return tuple(counts)


def run_shortened(
    blocks: Sequence[Block], shorten: Shortening, x: Tensor, prompts: Mapping[int, Tensor], run_last: RunLast | None
) -> Rows:
    """Run rows x (B, R, D_v) through all blocks.

    Args:
        prompts: layer -> (n_ctx, D_v) or (B, n_ctx, D_v); those of layer 0 have passed the tower's first layer norm.
        run_last: runs the last block that attends, from (block, x, what scores gain) to (B, D_v) or (B, n, D_v); None
            for a tower whose feature is made of all rows, which are then shortened there too.
    """
    return run_beside(blocks, shorten, x, Entered(prompts), run_last)[0]


def run_beside(
    blocks: Sequence[Block],
    shorten: Shortening | None,
    x: Tensor,
    entered: Entered,
    run_last: RunLast | None,
    *,
    reads_tokens: bool = False,
    begin: int = 0,
) -> tuple[Rows, Tensor]:
    """Run rows x (B, L, D_v) with tokens that enter behind them through all blocks; both come back, (B, n, D_v) each.

    Args:
        shorten: None for a tower that neither merges nor drops rows.
        run_last: as in `run_shortened`; what it is given ends with the tokens, and so does what it returns, but for
            (B, D_v).
        reads_tokens: whether the outputs of the tokens are wanted.
        begin: the first block to run, which reads x.
    """
    rows, behind = Rows(x), x[:, :0]
    last = last_attending(blocks)
    for layer in range(begin, len(blocks)):
        block = blocks[layer]
        if layer > last:
            if reads_tokens:
                behind = run_block(block, entered.in_front_of(layer, behind))
            rows = replace(rows, x=run_block(block, rows.x))
            continue
        behind = entered.in_front_of(layer, behind)
        n, n_behind = rows.x.shape[1], behind.shape[1]
        together = torch.cat([rows.x, behind], dim=1) if n_behind else rows.x
        if stand_in(block) is not None:
            together = run_block(block, together)
        elif layer == last and run_last is not None:
            together = run_last(block, together, gain_of_sizes(shorten, rows, together))
        else:
            # Outputs of tokens that are replaced right behind the block are not computed.
            are_read = reads_tokens if layer == last else not entered.drops_outputs(layer)
            n_wanted = n + n_behind if are_read else n
            if shorten is not None:
                rows, behind = _run(layer, block, shorten, rows, together, n_wanted)
                continue
            together = run_first_rows(block, together, n_wanted)
            n_behind = n_wanted - n
        if together.ndim == 3:
            left = together.shape[1] - n_behind
            together, behind = together[:, :left], together[:, left:]
        rows = replace(rows, x=together)
    return rows, behind


def _run(layer: int, block: Block, shorten: Shortening, rows: Rows, x: Tensor, n_wanted: int) -> tuple[Rows, Tensor]:
    """Run one block on rows with prompts behind them, x (B, L, D_v): shorter rows, and the first of the prompts."""
    attn, width, n = block.attn, x.shape[-1], rows.x.shape[1]
    qkv = attention.project_qkv(attn, block.ln_1(x))
    q = attention.split_heads(attn, qkv[:, :n_wanted, :width])
    k, v = (attention.split_heads(attn, part) for part in qkv[..., width:].chunk(2, -1))
    update = attention.project_out(attn, attention.attend(attn, q, k, v, gain_of_sizes(shorten, rows, x)))
    beside, x = beside_block(block, x[:, :n_wanted]), add_attention(block, x[:, :n_wanted], update)
    if beside is not None:
        x = torch.cat([x, beside], dim=-1)  # Merged and dropped as the rows are.
    rows = shorten(layer, replace(rows, x=x[:, :n]), *attention.norm_heads(attn, q[:, :, :n], k[:, :, :n]))
    if n_wanted == n:
        return replace(rows, x=_add_mlp(block, rows.x, width)), x[:, :0, :width]
    left = rows.x.shape[1]
    x = _add_mlp(block, torch.cat([rows.x, x[:, n:]], dim=1), width)
    return replace(rows, x=x[:, :left]), x[:, left:]


def _add_mlp(block: Block, x: Tensor, width: int) -> Tensor:
    """Residual step of a block's MLP on x (B, L, D_v), or (B, L, 2 * D_v) with what stands beside the block."""
    return add_mlp(block, x) if x.shape[-1] == width else add_mlp(block, *x.split(width, dim=-1))


def gain_of_sizes(shorten: Shortening | None, rows: Rows, x: Tensor) -> Tensor | None:
    """What the scores of keys x (B, L, D_v) gain: the logarithm of their sizes, 0 for prompts; (B, 1, 1, L) or None."""
    if shorten is None or rows.sizes is None or not shorten.proportional:
        return None
    gain = rows.sizes.squeeze(-1).log().to(x.dtype)  # (B, n)
    return torch.nn.functional.pad(gain, (0, x.shape[1] - gain.shape[1]))[:, None, None]
