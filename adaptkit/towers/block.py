"""The two towers of CLIP as plain functions over tokens: prompts, and which blocks run, are arguments.

`TextTower` and `VisionTower` are views: they name the parts of an open_clip model and own nothing. Text prompts of a
causal tower run as a token tree (text_tree.py), those of other towers whole (full_text.py). In the last block that
attends, only the output row of the vision tower is computed past keys and values.

A view's block may have parts that a wrapper put there: `beside_attn` and `beside_mlp` are added to the two residual
steps, and `skip` stands in for the whole block, row by row, while it is active.

Letters: B images, N texts, L text positions, P patches, n prompt tokens, D joint width, D_t and D_v tower widths.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Protocol

import torch
from torch import Tensor, nn

from adaptkit.towers import attention

NO_PROMPTS: Mapping[int, Tensor] = MappingProxyType({})
WRAPPERS_PARTS = ("beside_attn", "beside_mlp", "skip")  # of a block, besides open_clip's own


class Block(Protocol):
    """A pre-norm transformer block; `ls_1`, `ls_2`, `ln_attn` and a wrapper's parts may be there as well."""

    ln_1: Callable[[Tensor], Tensor]
    attn: attention.AttentionLayer
    ln_2: Callable[[Tensor], Tensor]
    mlp: nn.Module

    def __call__(self, x: Tensor, *, attn_mask: Tensor | None) -> Tensor: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...


class StandIn(Protocol):
    """A block's `skip`: while it is active, the block is not run, and this maps its rows one by one."""

    active: bool

    def __call__(self, x: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class TextTower:
    """The parts of an open_clip text tower."""

    token_embedding: nn.Embedding
    positional_embedding: Tensor  # (L, D_t); one more row where a class token is appended
    blocks: Sequence[Block]
    ln_final: Callable[[Tensor], Tensor]
    projection: Tensor | nn.Linear | None  # (D_t, D)
    attn_mask: Tensor | None  # additive (L, L), None where every position sees every other
    pool: str  # the row that becomes the feature: "argmax" or "eos" ([EOS]), "first", "last"
    eos_id: int
    class_embedding: Tensor | None  # (D_t,), appended behind the padding (CoCa); its row is the feature
    pad_id: int | None  # tokens that no position may see; None where padding is seen
    pads_from_the_front: bool  # CoCa's released weights shift the padding mask by one

    @property
    def width(self) -> int:
        return self.token_embedding.embedding_dim

    @property
    def depth(self) -> int:
        return len(self.blocks)

    @property
    def dtype(self) -> torch.dtype:
        """Of the blocks' weights, which the tokens are cast to; of the positions where every block is skipped."""
        mlps = (block.mlp for block in self.blocks if hasattr(block, "mlp"))
        weights = (weight for mlp in mlps for weight in mlp.parameters() if weight.ndim == 2)
        return next(weights, self.positional_embedding).dtype

    def is_causal(self) -> bool:
        """Whether the feature depends only on the tokens up to [EOS], each on those before it."""
        return (
            self.attn_mask is not None
            and self.pool in ("argmax", "eos")
            and self.class_embedding is None
            and self.pad_id is None
            and all(is_supported_block(block) for block in self.blocks)
        )

    def ends(self, tokens: Tensor) -> Tensor:
        """Position of the [EOS] of each text, tokens (N, L) -> (N,)."""
        return tokens.argmax(dim=-1) if self.pool == "argmax" else (tokens == self.eos_id).int().argmax(dim=-1)

    def project(self, x: Tensor) -> Tensor:
        """(..., D_t) -> (..., D)."""
        if self.projection is None:
            return x
        return x @ self.projection if isinstance(self.projection, Tensor) else self.projection(x)


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
        """Output rows (..., D_v) -> features (..., D)."""
        x = self.ln_post(x)
        return x if self.projection is None else x @ self.projection


def is_supported_block(block: object) -> bool:
    """Whether `run_block` computes what the block computes."""
    if is_gone(block):
        return True
    has_parts = all(hasattr(block, part) for part in ("ln_1", "attn", "ln_2", "mlp"))
    return has_parts and not hasattr(block, "ln_1_kv") and attention.is_supported(getattr(block, "attn", None))


def stand_in(block: object) -> StandIn | None:
    """What maps the rows of a block that is skipped now; None where the block runs."""
    skip: StandIn | None = getattr(block, "skip", None)
    return skip if skip is not None and skip.active else None


def is_gone(block: object) -> bool:
    """Whether a block is skipped for good: nothing of it is left but what stands in for it."""
    return stand_in(block) is not None and not hasattr(block, "attn")


def last_attending(blocks: Sequence[Block]) -> int:
    """The last block that is not skipped: behind it, and past its keys and values, one row is enough; -1 for none."""
    return max((layer for layer, block in enumerate(blocks) if stand_in(block) is None), default=-1)


def learnt_parameters(tower: TextTower | VisionTower) -> list[nn.Parameter]:
    """What learns in a tower, each parameter once, in the order of its parts."""
    parts = [getattr(tower, field.name) for field in fields(tower) if field.name != "blocks"]
    modules = [part for part in (*parts, *tower.blocks) if isinstance(part, nn.Module)]
    weights = (weight for module in modules for weight in module.parameters() if weight.requires_grad)
    return list({id(weight): weight for weight in weights}.values())


def add_attention(block: Block, x: Tensor, update: Tensor) -> Tensor:
    """The residual step of a block's attention, with the layer norm and scale that some blocks put on the update."""
    for part in ("ln_attn", "ls_1"):
        step = getattr(block, part, None)
        update = update if step is None else step(update)
    return _add_beside(block, "beside_attn", x, x + update)


def add_mlp(block: Block, x: Tensor) -> Tensor:
    """The residual step of a block's MLP."""
    update, scale = block.mlp(block.ln_2(x)), getattr(block, "ls_2", None)
    return _add_beside(block, "beside_mlp", x, x + (update if scale is None else scale(update)))


def _add_beside(block: Block, part: str, x: Tensor, stepped: Tensor) -> Tensor:
    """A residual step with what a wrapper put beside it, which reads the step's input x."""
    beside = getattr(block, part, None)
    return stepped if beside is None else stepped + beside(x)


def run_block(block: Block, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """One pre-norm block on x (N, L, width); without a mask every row sees every other.

    Args:
        mask: what `attention.attend` takes, or the same as numbers that are added to the scores.
    """
    skip = stand_in(block)
    if skip is not None:
        return skip(x)
    attn = block.attn
    q, k, v = (attention.split_heads(attn, part) for part in attention.project_qkv(attn, block.ln_1(x)).chunk(3, -1))
    x = add_attention(block, x, attention.project_out(attn, attention.attend(attn, q, k, v, mask)))
    return add_mlp(block, x)


def run_first_rows(block: Block, x: Tensor, n_rows: int) -> Tensor:
    """The first `n_rows` rows' outputs of a block on x (B, L, D_v). The others lend keys and values only."""
    qkv, width = attention.project_qkv(block.attn, block.ln_1(x)), x.shape[-1]
    return _rows_of_block(block, x[:, :n_rows], qkv[:, :n_rows, :width], qkv[..., width:])


def run_last_block(block: Block, x: Tensor) -> Tensor:
    """The first row's output of a block on x (B, L, D_v): (B, D_v). The other rows lend keys and values only."""
    attn, normed = block.attn, block.ln_1(x)
    q, kv = attention.project_q(attn, normed[:, :1]), attention.project_kv(attn, normed)
    return _rows_of_block(block, x[:, :1], q, kv)[:, 0]


def run_last_block_rows(block: Block, x: Tensor) -> Tensor:
    """All rows' outputs of a block on x (B, L, D_v), the first to the last bit what `run_last_block` gives."""
    attn, normed = block.attn, block.ln_1(x)
    kv, parts = attention.project_kv(attn, normed), (slice(1), slice(1, None))
    outputs = [_rows_of_block(block, x[:, part], attention.project_q(attn, normed[:, part]), kv) for part in parts]
    return torch.cat(outputs, dim=1)


def _rows_of_block(block: Block, x: Tensor, q: Tensor, kv: Tensor) -> Tensor:
    """Outputs of some rows x (B, l, D_v) of a block from their queries, and keys and values (B, L, 2 * D_v) of all."""
    attn = block.attn
    q, k, v = (attention.split_heads(attn, part) for part in (q, *kv.chunk(2, -1)))
    return add_mlp(block, add_attention(block, x, attention.project_out(attn, attention.attend(attn, q, k, v))))


def embed_patches(tower: VisionTower, images: Tensor) -> Tensor:
    """Images (B, 3, H, W) -> class token and patches in front of the first block (B, 1 + P, D_v)."""
    patches = tower.conv1(images.to(tower.conv1.weight.dtype)).flatten(2).transpose(1, 2)  # (B, P, D_v)
    class_token = tower.class_embedding.to(patches.dtype).expand(images.shape[0], 1, -1)
    return tower.ln_pre(torch.cat([class_token, patches], dim=1) + tower.positional_embedding.to(patches.dtype))


def encode_image(tower: VisionTower, images: Tensor, prompts: Mapping[int, Tensor] = NO_PROMPTS) -> Tensor:
    """Images (B, 3, H, W) -> features (B, D), not normalised."""
    return encode_patches(tower, embed_patches(tower, images), prompts)


def encode_patches(tower: VisionTower, x: Tensor, prompts: Mapping[int, Tensor] = NO_PROMPTS) -> Tensor:
    """Embedded patches (B, 1 + P, D_v) -> features (B, D), not normalised.

    Args:
        prompts: layer -> (n, D_v) or (B, n, D_v). Those of layer 0 are appended behind the patches, through `ln_pre`
            and without a position; those of a later layer replace the last n rows before their block. Before a
            skipped block they pass through what stands in for it, so the next layer's own prompts leave them no effect.

    Raises:
        ValueError: if a later layer has prompts and layer 0 has none, or another number of them.
    """
    if last_attending(tower.blocks) < 0:  # no row sees another, so the class token's is enough
        return tower.project(_run_blocks(tower, x[:, :1], NO_PROMPTS, run_last_block)[:, 0])
    return tower.project(_run_blocks(tower, x, prompts, run_last_block))


def encode_rows(tower: VisionTower, images: Tensor, prompts: Mapping[int, Tensor] = NO_PROMPTS) -> Tensor:
    """Images (B, 3, H, W) -> output rows (B, 1 + P, D_v) of the last block, the class token's first, prompts' left out.

    `tower.project` of the first row is what `encode_image` gives, to the last bit.
    """
    x = embed_patches(tower, images)
    return _run_blocks(tower, x, prompts, run_last_block_rows)[:, : x.shape[1]]


def _run_blocks(
    tower: VisionTower, x: Tensor, prompts: Mapping[int, Tensor], run_last: Callable[[Block, Tensor], Tensor]
) -> Tensor:
    """Embedded patches (B, 1 + P, D_v) through all blocks, the last that attends by `run_last`.

    Of prompts that are replaced right behind a block, no one reads what it makes of them.
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
            x = run_last(block, x)  # behind it x may be (B, D_v)
        elif layer + 1 in prompts and stand_in(block) is None:
            x = run_first_rows(block, x, n_rows)
        else:
            x = run_block(block, x)
    return x


def replace_tokens(x: Tensor, start: int, prompts: Tensor) -> Tensor:
    """x (N, L, D) with prompts (n, D) or (N, n, D) in the place of the tokens from `start` on."""
    prompts = prompts.to(x.dtype).expand(x.shape[0], -1, -1)
    return torch.cat([x[:, :start], prompts, x[:, start + prompts.shape[1] :]], dim=1)
