"""The text tower over a token tree: all classes in one pass, exact for causal towers (see token_tree.py).

In each block, the trunk attends to itself, and each row of branches attends to the trunk and to itself. Two more
savings are exact as well: the first block's layer norm and projections of fixed tokens never change and are kept, and
in the last block that attends only the rows of [EOS] go past their keys and values.

Letters: G groups of learnt tokens (1, or one per image), S learnt tokens, C classes, T = P + R * W tokens of the tree
(P trunk, R rows of W), E branches in the fullest row, n deep prompt tokens, D joint width, D_t tower width.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from adaptkit.towers import attention
from adaptkit.towers.block import (
    NO_PROMPTS,
    Block,
    finish_block,
    last_attending,
    replace_tokens,
    replace_tokens_at,
    stand_in,
)
from adaptkit.towers.text import TextTower
from adaptkit.towers.token_tree import ROW_LENGTH, PromptTokens, TokenTree, build_tree
from adaptkit.towers.watch import Watch, current

# Bytes of activations; larger passes run in chunks of classes, which the backward pass computes again.
MEMORY_BUDGET = 4 * 2**30
# Activations that one block keeps for its backward pass, in multiples of the tower's width.
SAVED_WIDTHS_PER_BLOCK = 15


class TreeEncoder(nn.Module):
    """Text features of fixed prompts with learnt tokens, for causal towers.

    Args:
        tower: the frozen text tower.
        prompts: the prompts of C classes.
        memory_budget: bytes of activations; above them classes run in chunks.
    """

    ids: Tensor
    slots: Tensor
    positions: Tensor
    mask: Tensor
    ends: Tensor
    end_mask: Tensor
    end_of_class: Tensor
    learnt_at: Tensor
    fixed: Tensor
    fixed_qkv: Tensor | None

    def __init__(
        self,
        tower: TextTower,
        prompts: PromptTokens,
        *,
        row_length: int = ROW_LENGTH,
        memory_budget: int = MEMORY_BUDGET,
    ):
        super().__init__()
        self.tower, self.prompts = tower, prompts
        self.memory_budget, self.longest_row = memory_budget, row_length
        self.n_slots, self.start = prompts.n_slots, prompts.start
        self._build()
        first = tower.blocks[0]
        parts = [getattr(first, name, None) for name in ("ln_1", "attn")]
        of_first = [part for part in parts if isinstance(part, nn.Module)]
        at_home = [home.module for home in tower.homes if home.field == "positional_embedding"]
        self.watch = Watch([tower.token_embedding, *of_first], alone=at_home)

    def _build(self) -> None:
        """Build the tree, and keep what is made of the weights as they are now."""
        # Buffers made in inference mode could never be trained on.
        with torch.inference_mode(False), torch.no_grad():
            tree = build_tree(self.prompts, self.longest_row)
            self.trunk_length, self.row_length, self.n_rows = tree.trunk_length, tree.row_length, tree.n_rows
            self._register_indices(tree)
            self._embed_fixed_tokens()

    def _register_indices(self, tree: TokenTree) -> None:
        device = self.tower.token_embedding.weight.device
        for name in ("ids", "slots", "positions", "mask", "ends", "end_mask", "end_of_class"):
            self.register_buffer(name, getattr(tree, name).to(device), persistent=False)
        learnt_at = (tree.slots >= 0).nonzero()[:, 0]  # (m,), in order: trunk, then row by row
        row_starts = tree.trunk_length + tree.row_length * torch.arange(tree.n_rows + 1)
        self.register_buffer("learnt_at", learnt_at.to(device), persistent=False)
        # Number of learnt tokens before each row, as numbers on the host, which then never waits for the device.
        self.learnt_before: list[int] = torch.searchsorted(learnt_at, row_starts).tolist()

    def _embed_fixed_tokens(self) -> None:
        """Keep the fixed tokens' input to the first block, and their projections in its attention."""
        tower, first = self.tower, self.tower.blocks[0]
        position = tower.positional_embedding[self.positions].to(tower.dtype)
        fixed = tower.token_embedding(self.ids).to(tower.dtype) + position  # (T, D_t)
        qkv = attention.project_qkv(first.attn, first.ln_1(fixed)) if _projects_alike(first) else None  # (T, 3 * D_t)
        self.register_buffer("fixed", fixed, persistent=False)
        self.register_buffer("fixed_qkv", qkv, persistent=False)

    @property
    def n_tokens(self) -> int:
        """Number T of positions in one pass."""
        return len(self.ids)

    def forward(
        self,
        ctx: Tensor | None = None,
        deep: Mapping[int, Tensor] = NO_PROMPTS,
        by_slot: Mapping[int, Tensor] = NO_PROMPTS,
    ) -> Tensor:
        """Features (G, C, D) of all classes, not normalised.

        Args:
            ctx: learnt tokens (G, S, D_t) before the positional embedding; None for prompts without any.
            deep: layer -> (n, D_t) or (G, n, D_t), which replace the n tokens behind [SOS] in front of that block.
            by_slot: layer -> (S, D_t), which replace the learnt tokens in front of that block, wherever they stand.

        Raises:
            ValueError: if `ctx` does not have the S tokens of the prompts, or the trunk is too short for `deep`.
        """
        if self.watch.changed():
            with torch.autocast(self.fixed.device.type, enabled=False):
                self.tower = current(self.tower)
                self._build()
        if ctx is None:
            ctx = self.fixed.new_zeros(1, 0, self.tower.width)
        if ctx.shape[1] != self.n_slots:
            raise ValueError(f"ctx has shape {tuple(ctx.shape)}; the prompts have {self.n_slots} learnt tokens")
        self.tower = current(self.tower)
        longest = max((prompt.shape[-2] for prompt in deep.values()), default=0)
        if longest and self.start + longest > self.trunk_length:
            raise ValueError(
                f"deep prompts of {longest} tokens need as many that all classes share, and the prompts share "
                f"{self.trunk_length - self.start}; put the class name at the end and share the context"
            )
        chunks = self._chunks(len(ctx))
        if len(chunks) == 1:
            ends = self._encode(ctx, deep, by_slot, *chunks[0])
        elif torch.is_grad_enabled():
            parts = [checkpoint(self._encode, ctx, deep, by_slot, *chunk, use_reentrant=False) for chunk in chunks]
            ends = _join(parts, chunks)
        else:
            ends = _join([self._encode(ctx, deep, by_slot, *chunk) for chunk in chunks], chunks)
        return ends.index_select(1, self.end_of_class)

    def _chunks(self, n_groups: int) -> list[tuple[slice, slice]]:
        """Slices of groups and rows that fit the budget: everything at once, few groups, or few rows of one group."""
        kept_blocks = self.tower.depth if torch.is_grad_enabled() else 1
        token_bytes = self.tower.width * self.fixed.element_size() * SAVED_WIDTHS_PER_BLOCK * kept_blocks
        affordable_rows = max(1, self.memory_budget // (token_bytes * self.row_length))
        groups = min(n_groups, max(1, affordable_rows // self.n_rows))
        rows = min(self.n_rows, affordable_rows)
        return [
            (slice(group, min(group + groups, n_groups)), slice(row, min(row + rows, self.n_rows)))
            for group in range(0, n_groups, groups)
            for row in range(0, self.n_rows, rows)
        ]

    def _encode(
        self, ctx: Tensor, deep: Mapping[int, Tensor], by_slot: Mapping[int, Tensor], groups: slice, rows: slice
    ) -> Tensor:
        """Features (g, r * E, D) of the branches in some rows, for some groups."""
        ctx = ctx[groups].to(self.fixed.dtype)
        deep = {layer: prompt[groups] if prompt.ndim == 3 else prompt for layer, prompt in deep.items()}
        P, W = self.trunk_length, self.row_length
        first, stop = P + rows.start * W, P + rows.stop * W
        numbers, places = self._learnt_places(rows)
        tokens = _Tokens(
            start=self.start,
            trunk_length=P,
            mask=self.mask[rows],
            ends=self.ends[rows] - rows.start * W,
            end_mask=self.end_mask[rows],
            learnt_at=places,
        )
        part = torch.cat([torch.arange(P, device=ctx.device), torch.arange(first, stop, device=ctx.device)])
        x, qkv = self._first_block_input(ctx, part, numbers, places)
        learnt = {layer: prompt[self.slots[numbers]] for layer, prompt in by_slot.items()}
        return _run_blocks(self.tower, x, tokens, deep, learnt, qkv)

    def _learnt_places(self, rows: slice) -> tuple[Tensor, Tensor]:
        """Learnt tokens of the trunk and some rows: their numbers (m,) in the tree, and in that part of it."""
        in_trunk = self.learnt_at[: self.learnt_before[0]]
        in_rows = self.learnt_at[self.learnt_before[rows.start] : self.learnt_before[rows.stop]]
        return torch.cat([in_trunk, in_rows]), torch.cat([in_trunk, in_rows - rows.start * self.row_length])

    def _first_block_input(
        self, ctx: Tensor, part: Tensor, numbers: Tensor, learnt_at: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Input x (g, t, D_t) of the first block and its projections (g, t, 3 * D_t), for the tokens in `part`."""
        position = self.tower.positional_embedding[self.positions[numbers]].to(ctx.dtype)
        learnt = ctx[:, self.slots[numbers]] + position  # (g, m, D_t)
        x = _insert(self.fixed[part], learnt_at, learnt)  # (g, t, D_t)
        if self.fixed_qkv is None or stand_in(self.tower.blocks[0]) is not None:
            return x, None
        first = self.tower.blocks[0]
        return x, _insert(self.fixed_qkv[part], learnt_at, attention.project_qkv(first.attn, first.ln_1(learnt)))


@dataclass(frozen=True)
class _Tokens:
    """The t = P + r * W tokens of one chunk, with the masks between them."""

    start: int
    trunk_length: int
    mask: Tensor  # (r, W, P + W)
    ends: Tensor  # (r, E)
    end_mask: Tensor  # (r, E, P + W)
    learnt_at: Tensor  # (m,)

    @property
    def n_rows(self) -> int:
        return len(self.mask)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Split x (g, t, d) of all tokens into the trunk's (g, P, d) and the rows' (g * r, W, d).

        A single split joins its gradients in one piece; those of two slices would be padded with zeros and added.
        """
        trunk, rows = x.split([self.trunk_length, x.shape[1] - self.trunk_length], dim=1)
        return trunk, rows.unflatten(1, (self.n_rows, -1)).flatten(0, 1)


def _run_blocks(
    tower: TextTower,
    x: Tensor,
    tokens: _Tokens,
    deep: Mapping[int, Tensor],
    learnt: Mapping[int, Tensor],
    qkv: Tensor | None,
) -> Tensor:
    """Run x (g, t, D_t) to features (g, r * E, D) at the ends.

    Args:
        learnt: layer -> (m, D_t), which replace the learnt tokens in front of that block.
        qkv: projections in the first block, if known.
    """
    last = last_attending(tower.blocks)
    if last < 0:
        x = x[:, tokens.ends.flatten()]
    for layer, block in enumerate(tower.blocks):
        if layer <= last and layer in deep:
            x = replace_tokens(x, tokens.start, deep[layer])
            qkv = None
        if layer <= last and layer in learnt:
            x = replace_tokens_at(x, tokens.learnt_at, learnt[layer])
            qkv = None
        skip = stand_in(block)
        if skip is not None:
            x = skip(x)
            continue
        attn = block.attn
        if layer < last:
            update = _attend_tree(attn, attention.project_qkv(attn, block.ln_1(x)) if qkv is None else qkv, tokens)
        else:
            ends = tokens.ends.flatten()
            if qkv is None:
                normed = block.ln_1(x)
                q, kv = attention.project_q(attn, normed.index_select(1, ends)), attention.project_kv(attn, normed)
            else:
                q, kv = qkv[:, ends, : tower.width], qkv[..., tower.width :]
            update = _attend_ends(attn, q, kv, tokens)
            x = x.index_select(1, ends)
        x = finish_block(block, x, attention.project_out(attn, update))
        qkv = None
    return tower.project(tower.ln_final(x))


def _projects_alike(block: Block) -> bool:
    """Whether fixed tokens project alike in every pass: the block runs, and its norm and projections do not learn."""
    if not hasattr(block, "attn"):
        return False
    parts = (part for part in (block.ln_1, block.attn) if isinstance(part, nn.Module))
    return not any(parameter.requires_grad for part in parts for parameter in part.parameters())


def _attend_tree(attn: attention.AttentionLayer, qkv: Tensor, tokens: _Tokens) -> Tensor:
    """Attention of every token to its ancestors: qkv (g, t, 3 * D_t) -> (g, t, D_t)."""
    P, groups = tokens.trunk_length, len(qkv)
    of_trunk, of_rows = tokens.split(qkv)
    q, k, v = (attention.split_heads(attn, part) for part in of_trunk.chunk(3, dim=-1))  # (g, H, P, d)
    causal = torch.ones(P, P, dtype=torch.bool, device=qkv.device).tril()
    trunk = attention.attend(attn, q, k, v, causal)
    row_q, row_k, row_v = (attention.split_heads(attn, part) for part in of_rows.chunk(3, dim=-1))
    k, v = _behind_trunk(k, row_k), _behind_trunk(v, row_v)
    branches = attention.attend(attn, row_q, k, v, _per_group(tokens.mask, groups))
    return torch.cat([trunk, branches.unflatten(0, (groups, -1)).flatten(1, 2)], dim=1)


def _attend_ends(attn: attention.AttentionLayer, q: Tensor, kv: Tensor, tokens: _Tokens) -> Tensor:
    """Attention of the ends to their ancestors: q (g, r * E, D_t), kv (g, t, 2 * D_t) -> (g, r * E, D_t)."""
    groups = len(kv)
    of_trunk, of_rows = tokens.split(kv)
    k, v = (attention.split_heads(attn, part) for part in of_trunk.chunk(2, dim=-1))
    row_k, row_v = (attention.split_heads(attn, part) for part in of_rows.chunk(2, dim=-1))
    row_q = attention.split_heads(attn, q.unflatten(1, (tokens.n_rows, -1)).flatten(0, 1))  # (g * r, H, E, d)
    k, v = _behind_trunk(k, row_k), _behind_trunk(v, row_v)
    ends = attention.attend(attn, row_q, k, v, _per_group(tokens.end_mask, groups))
    return ends.unflatten(0, (groups, -1)).flatten(1, 2)


def _behind_trunk(trunk: Tensor, rows: Tensor) -> Tensor:
    """Put the trunk's keys or values (g, H, P, d) before every row's (g * r, H, W, d): (g * r, H, P + W, d)."""
    return torch.cat([trunk.repeat_interleave(len(rows) // len(trunk), dim=0), rows], dim=2)


def _per_group(mask: Tensor, groups: int) -> Tensor:
    """Repeat a mask for every group: (r, L, P + W) -> (g * r, 1, L, P + W)."""
    return mask[:, None].repeat(groups, 1, 1, 1) if groups > 1 else mask[:, None]


def _insert(fixed: Tensor, places: Tensor, learnt: Tensor) -> Tensor:
    """Insert learnt rows (g, m, D) at `places` (m,) into the fixed rows (t, D) of every group: (g, t, D)."""
    return fixed.to(learnt.dtype).expand(len(learnt), -1, -1).index_copy(1, places, learnt)


def _join(parts: list[Tensor], chunks: list[tuple[slice, slice]]) -> Tensor:
    """Join chunks (g, r * E, D) in the order of `TreeEncoder._chunks` -> (G, R * E, D)."""
    by_group: dict[int, list[Tensor]] = {}
    for part, (groups, _) in zip(parts, chunks, strict=True):
        by_group.setdefault(groups.start, []).append(part)
    return torch.cat([torch.cat(rows, dim=1) for rows in by_group.values()], dim=0)
