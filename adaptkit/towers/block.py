"""A transformer block of CLIP's towers as plain functions over its rows.

A view's block may have more parts: `beside_attn` and `beside_mlp` are added to the two residual steps,
`beside_block` to the whole block's output, and `skip` replaces the block, row by row, while it is active.
Letters: N sequences, L positions, D the width of a tower.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

import torch
from torch import Tensor, nn

from adaptkit.towers import attention

NO_PROMPTS: Mapping[int, Tensor] = MappingProxyType({})
ADDED_PARTS = ("beside_attn", "beside_mlp", "beside_block", "skip")  # Parts that may be added to open_clip's own.


class Block(Protocol):
    """A pre-norm transformer block; it may also have `ls_1`, `ls_2`, `ln_attn` and added parts."""

    ln_1: Callable[[Tensor], Tensor]
    attn: attention.AttentionLayer
    ln_2: Callable[[Tensor], Tensor]
    mlp: nn.Module

    def __call__(self, x: Tensor, *, attn_mask: Tensor | None) -> Tensor: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...


class StandIn(Protocol):
    """The `skip` part of a block: while active, it maps the rows one by one and the block does not run."""

    active: bool

    def __call__(self, x: Tensor) -> Tensor: ...


def is_supported_block(block: object) -> bool:
    """Whether `run_block` computes the same as the block."""
    if is_gone(block):
        return True
    return can_run_block(block) and attention.is_supported(getattr(block, "attn", None))


def can_run_block(block: object) -> bool:
    """Whether `run_block` runs the block on (N, L, width), also if the block itself takes (L, N, width)."""
    has_parts = all(hasattr(block, part) for part in ("ln_1", "attn", "ln_2", "mlp"))
    return has_parts and not hasattr(block, "ln_1_kv") and attention.comes_apart(getattr(block, "attn", None))


def stand_in(block: object) -> StandIn | None:
    """The active `skip` part of a block, or None for a block that runs."""
    skip: StandIn | None = getattr(block, "skip", None)
    return skip if skip is not None and skip.active else None


def is_gone(block: object) -> bool:
    """Whether a block is skipped for good: only its stand-in is left."""
    return stand_in(block) is not None and not hasattr(block, "attn")


def projects_alike(block: Block) -> bool:
    """Whether fixed tokens project alike in every pass: the block runs, and its norm and projections do not learn."""
    if not hasattr(block, "attn"):
        return False
    parts = (part for part in (block.ln_1, block.attn) if isinstance(part, nn.Module))
    return not any(parameter.requires_grad for part in parts for parameter in part.parameters())


def is_plain(block: object) -> bool:
    """Whether a block is one as it was loaded, in which nothing learns."""
    if not isinstance(block, nn.Module) or any(hasattr(block, part) for part in ADDED_PARTS):
        return False
    return not any(parameter.requires_grad for parameter in block.parameters())


def last_attending(blocks: Sequence[Block]) -> int:
    """Number of the last block that runs, or -1; past its keys and values, one row of the output is enough."""
    return max((layer for layer, block in enumerate(blocks) if stand_in(block) is None), default=-1)


def add_attention(block: Block, x: Tensor, update: Tensor) -> Tensor:
    """Residual step of a block's attention, with the layer norm and scale that some blocks apply to the update."""
    for part in ("ln_attn", "ls_1"):
        step = getattr(block, part, None)
        update = update if step is None else step(update)
    return _add_beside(block, "beside_attn", x, x + update)


def add_mlp(block: Block, x: Tensor, beside: Tensor | None = None) -> Tensor:
    """Residual step of a block's MLP, and what `beside_block` made of the block's input."""
    update, scale = block.mlp(block.ln_2(x)), getattr(block, "ls_2", None)
    stepped = _add_beside(block, "beside_mlp", x, x + (update if scale is None else scale(update)))
    return stepped if beside is None else stepped + beside


def beside_block(block: Block, x: Tensor) -> Tensor | None:
    """What a block's part `beside_block` makes of the normed rows of its input x (..., D); None without that part."""
    beside = getattr(block, "beside_block", None)
    return None if beside is None else beside(block.ln_1(x))


def finish_block(block: Block, x: Tensor, update: Tensor) -> Tensor:
    """Outputs of a block for rows of its input x (..., D), from the update of their attention."""
    return add_mlp(block, add_attention(block, x, update), beside_block(block, x))


def _add_beside(block: Block, part: str, x: Tensor, stepped: Tensor) -> Tensor:
    """A residual step plus the output of an added part, which reads the step's input x."""
    beside = getattr(block, part, None)
    return stepped if beside is None else stepped + beside(x)


def run_block(block: Block, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Run one pre-norm block on x (N, L, width); without a mask every row sees every other.

    Args:
        mask: a mask as `attention.attend` takes it, or numbers that are added to the scores.
    """
    skip = stand_in(block)
    if skip is not None:
        return skip(x)
    attn = block.attn
    q, k, v = (attention.split_heads(attn, part) for part in attention.project_qkv(attn, block.ln_1(x)).chunk(3, -1))
    return finish_block(block, x, attention.project_out(attn, attention.attend(attn, q, k, v, mask)))


def run_first_rows(block: Block, x: Tensor, n_rows: int) -> Tensor:
    """Outputs of a block for the first `n_rows` rows of x (B, L, D_v); the others give keys and values only."""
    qkv, width = attention.project_qkv(block.attn, block.ln_1(x)), x.shape[-1]
    return _rows_of_block(block, x[:, :n_rows], qkv[:, :n_rows, :width], qkv[..., width:])


def run_last_block(block: Block, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Output (B, D_v) of a block for the first row of x (B, L, D_v); the others give keys and values only."""
    attn, normed = block.attn, block.ln_1(x)
    q, kv = attention.project_q(attn, normed[:, :1]), attention.project_kv(attn, normed)
    return _rows_of_block(block, x[:, :1], q, kv, mask=mask)[:, 0]


def run_last_block_rows(block: Block, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Outputs of a block for all rows of x (B, L, D_v); the first equals `run_last_block` to the last bit."""
    return _run_parts(block, x, (slice(0, 1), slice(1, x.shape[1])), mask)


def run_first_and_last_rows(block: Block, x: Tensor, mask: Tensor | None = None, *, n_last: int) -> Tensor:
    """Outputs (B, 1 + n_last, D_v) of a block for the first and the last rows of x (B, L, D_v)."""
    length = x.shape[1]
    return _run_parts(block, x, (slice(0, 1), slice(length - n_last, length)), mask)


def _run_parts(block: Block, x: Tensor, parts: Sequence[slice], mask: Tensor | None) -> Tensor:
    """Outputs of a block for some parts of its rows x (B, L, D_v), side by side; all rows give keys and values."""
    attn, normed = block.attn, block.ln_1(x)
    kv = attention.project_kv(attn, normed)
    outputs = [
        _rows_of_block(block, x[:, part], attention.project_q(attn, normed[:, part]), kv, part.start, mask)
        for part in parts
    ]
    return torch.cat(outputs, dim=1)


def _rows_of_block(
    block: Block, x: Tensor, q: Tensor, kv: Tensor, start: int = 0, mask: Tensor | None = None
) -> Tensor:
    """Outputs of a block for rows x (B, l, D_v), from their queries and all rows' keys and values (B, L, 2 * D_v).

    The rows are those from `start` on.
    """
    attn = block.attn
    q, k, v = (attention.split_heads(attn, part) for part in (q, *kv.chunk(2, -1)))
    update = attention.project_out(attn, attention.attend(attn, q, k, v, mask, start))
    return finish_block(block, x, update)


def replace_tokens(x: Tensor, start: int, prompts: Tensor) -> Tensor:
    """Replace the tokens of x (N, L, D) from `start` on by prompts (n, D) or (N, n, D)."""
    prompts = prompts.to(x.dtype).expand(x.shape[0], -1, -1)
    return torch.cat([x[:, :start], prompts, x[:, start + prompts.shape[1] :]], dim=1)


def replace_tokens_at(x: Tensor, places: Tensor, tokens: Tensor) -> Tensor:
    """Replace the tokens of x (N, L, D) at `places` (m,) by tokens (N, m, D), or (m, D) in all N sequences."""
    return x.index_copy(1, places, tokens.to(x.dtype).expand(len(x), -1, -1))
