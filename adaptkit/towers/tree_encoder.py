"""The text tower over a token tree: all classes in one pass, exact for causal towers (see token_tree.py).

In each block, the trunk attends to itself, and each row of branches attends to the trunk and to itself. Three more
savings are exact as well: the first block's layer norm and projections of fixed tokens never change and are kept; so is
what frozen blocks make of fixed prompts before the first token enters; and in the last block that attends only the rows
of [EOS] go past their keys and values.

Letters: G groups of learnt tokens (1, or one per image), S learnt tokens, C classes, T = P + R * W tokens of the tree
(P trunk, R rows of W), E branches in the fullest row, n deep prompt tokens, D joint width, D_t tower width.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from adaptkit.towers import attention
from adaptkit.towers.block import (
    NO_PROMPTS,
    finish_block,
    is_plain,
    last_attending,
    projects_alike,
    replace_tokens,
    replace_tokens_at,
    stand_in,
)
from adaptkit.towers.entering import Entered
from adaptkit.towers.text import TextTower
from adaptkit.towers.token_tree import ROW_LENGTH, PromptTokens, TokenTree, build_tree
from adaptkit.towers.tree_attention import TreeTokens, attend_ends, attend_tree
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
    reached: Tensor | None

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
        parts += [tower.blocks[layer] for layer in self.kept_layers]
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
            self._run_kept_layers()

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
        qkv = attention.project_qkv(first.attn, first.ln_1(fixed)) if projects_alike(first) else None  # (T, 3 * D_t)
        self.register_buffer("fixed", fixed, persistent=False)
        self.register_buffer("fixed_qkv", qkv, persistent=False)

    def _run_kept_layers(self) -> None:
        """Keep the input (T, D_t) of the first block that tokens enter, if frozen blocks make it of fixed prompts."""
        tower, reached = self.tower, None
        self.kept_layers = range(0) if self.n_slots else _kept_layers(tower)
        if self.kept_layers:
            reached = torch.empty_like(self.fixed)
            for _, rows in self._chunks(1):
                tokens, part = self._tokens(rows)
                qkv = None if self.fixed_qkv is None else self.fixed_qkv[part][None]
                x = _run_blocks(tower, self.fixed[part][None], tokens, {}, {}, qkv, layers=self.kept_layers)
                reached[part] = x[0]
        self.register_buffer("reached", reached, persistent=False)

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
            by_slot: layer -> (S, D_t) or (G, S, D_t), which replace the learnt tokens in front of that block, wherever
                they stand.

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
        entered = None if self.tower.entering is None else self.tower.entering()
        given, chunks = (ctx, deep, by_slot, entered), self._chunks(len(ctx))
        if len(chunks) == 1:
            ends = self._encode(*given, *chunks[0])
        elif torch.is_grad_enabled():
            parts = [checkpoint(self._encode, *given, *chunk, use_reentrant=False) for chunk in chunks]
            ends = _join(parts, chunks)
        else:
            ends = _join([self._encode(*given, *chunk) for chunk in chunks], chunks)
        return ends.index_select(1, self.end_of_class)

    def _chunks(self, n_groups: int) -> list[tuple[slice, slice]]:
        """Slices of groups and rows that fit the budget: everything at once, few groups, or few rows of one group."""
        affordable_rows = self._affordable_rows()
        groups = min(n_groups, max(1, affordable_rows // self.n_rows))
        rows = min(self.n_rows, affordable_rows)
        return [
            (slice(group, min(group + groups, n_groups)), slice(row, min(row + rows, self.n_rows)))
            for group in range(0, n_groups, groups)
            for row in range(0, self.n_rows, rows)
        ]

    def _affordable_rows(self) -> int:
        """Rows of branches that fit the budget at the same time."""
        kept_blocks = self.tower.depth if torch.is_grad_enabled() else 1
        token_bytes = self.tower.width * self.fixed.element_size() * SAVED_WIDTHS_PER_BLOCK * kept_blocks
        return max(1, self.memory_budget // (token_bytes * self.row_length))

    @property
    def groups_at_once(self) -> int:
        """How many groups of learnt tokens one chunk takes, so that the backward pass computes nothing again."""
        return max(1, self._affordable_rows() // self.n_rows)

    def _encode(
        self,
        ctx: Tensor,
        deep: Mapping[int, Tensor],
        by_slot: Mapping[int, Tensor],
        entered: Entered | None,
        groups: slice,
        rows: slice,
    ) -> Tensor:
        """Features (g, r * E, D) of the branches in some rows, for some groups."""
        tower, ctx = self.tower, ctx[groups].to(self.fixed.dtype)
        deep, by_slot = _of_groups(deep, groups), _of_groups(by_slot, groups)
        tokens, part = self._tokens(rows)
        if self.reached is not None and not (deep or by_slot):
            x = self.reached[part].expand(len(ctx), -1, -1)
            layers = range(len(self.kept_layers), tower.depth)
            return tower.project(tower.ln_final(_run_blocks(tower, x, tokens, {}, {}, None, entered, layers)))
        numbers, _ = self._learnt_places(rows)
        x, qkv = self._first_block_input(ctx, part, numbers, tokens.learnt_at)
        learnt = {layer: prompt.index_select(-2, self.slots[numbers]) for layer, prompt in by_slot.items()}
        return tower.project(tower.ln_final(_run_blocks(tower, x, tokens, deep, learnt, qkv, entered)))

    def _tokens(self, rows: slice) -> tuple[TreeTokens, Tensor]:
        """The trunk and some rows, and the numbers (t,) of their tokens in the tree."""
        P, W, device = self.trunk_length, self.row_length, self.mask.device
        tokens = TreeTokens(
            start=self.start,
            trunk_length=P,
            mask=self.mask[rows],
            ends=self.ends[rows] - rows.start * W,
            end_mask=self.end_mask[rows],
            learnt_at=self._learnt_places(rows)[1],
        )
        of_rows = torch.arange(P + rows.start * W, P + rows.stop * W, device=device)
        return tokens, torch.cat([torch.arange(P, device=device), of_rows])

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


def _run_blocks(
    tower: TextTower,
    x: Tensor,
    tokens: TreeTokens,
    deep: Mapping[int, Tensor],
    learnt: Mapping[int, Tensor],
    qkv: Tensor | None,
    entered: Entered | None = None,
    layers: range | None = None,
) -> Tensor:
    """Run x (g, t, D_t) through all blocks, or some `layers`: (g, t, D_t), or (g, r * E, D_t) at the ends of the tower.

    Args:
        learnt: layer -> (m, D_t) or (g, m, D_t), which replace the learnt tokens in front of that block.
        qkv: projections in the first block, if known.
    """
    last, layers = last_attending(tower.blocks), range(tower.depth) if layers is None else layers
    if last < 0:
        x = x[:, tokens.ends.flatten()]
    for layer in layers:
        block = tower.blocks[layer]
        if layer <= last and layer in deep:
            x = replace_tokens(x, tokens.start + tokens.n_entered, deep[layer])
            qkv = None
        if layer <= last and layer in learnt:
            x = replace_tokens_at(x, tokens.learnt_at, learnt[layer])
            qkv = None
        if entered is not None and layer <= last and layer in entered.tokens:
            before, qkv = x.shape[1], None
            x = entered.put_in(layer, x, tokens.start, tokens.n_entered)
            if x.shape[1] > before:
                tokens = tokens.with_entered(x.shape[1] - before)
        skip = stand_in(block)
        if skip is not None:
            x = skip(x)
            continue
        attn = block.attn
        if layer < last:
            update = attend_tree(attn, attention.project_qkv(attn, block.ln_1(x)) if qkv is None else qkv, tokens)
        else:
            ends = tokens.ends.flatten()
            if qkv is None:
                normed = block.ln_1(x)
                q, kv = attention.project_q(attn, normed.index_select(1, ends)), attention.project_kv(attn, normed)
            else:
                q, kv = qkv[:, ends, : tower.width], qkv[..., tower.width :]
            update = attend_ends(attn, q, kv, tokens)
            x = x.index_select(1, ends)
        x = finish_block(block, x, attention.project_out(attn, update))
        qkv = None
    return x


def _of_groups(prompts: Mapping[int, Tensor], groups: slice) -> dict[int, Tensor]:
    """Of prompts (n, D_t) that all groups share or (G, n, D_t), those of some groups."""
    return {layer: prompt[groups] if prompt.ndim == 3 else prompt for layer, prompt in prompts.items()}


def _kept_layers(tower: TextTower) -> range:
    """The blocks before the first that tokens enter, where they are as they were loaded; none otherwise."""
    if tower.entering is None:
        return range(0)
    layers = range(min(tower.entering().tokens))
    plain = all(is_plain(tower.blocks[layer]) for layer in layers)
    return layers if plain and layers.stop <= last_attending(tower.blocks) else range(0)


def _insert(fixed: Tensor, places: Tensor, learnt: Tensor) -> Tensor:
    """Insert learnt rows (g, m, D) at `places` (m,) into the fixed rows (t, D) of every group: (g, t, D)."""
    return fixed.to(learnt.dtype).expand(len(learnt), -1, -1).index_copy(1, places, learnt)


def _join(parts: list[Tensor], chunks: list[tuple[slice, slice]]) -> Tensor:
    """Join chunks (g, r * E, D) in the order of `TreeEncoder._chunks` -> (G, R * E, D)."""
    by_group: dict[int, list[Tensor]] = {}
    for part, (groups, _) in zip(parts, chunks, strict=True):
        by_group.setdefault(groups.start, []).append(part)
    return torch.cat([torch.cat(rows, dim=1) for rows in by_group.values()], dim=0)
