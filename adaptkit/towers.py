"""The two towers of CLIP as plain functions over tokens: prompts, and which blocks run, are arguments.

`TextTower` and `VisionTower` are views: they name the parts of an open_clip model and own nothing. Text prompts of a
causal tower run as a token tree (text_tree.py); what stands here runs every position, for the towers that are not
causal. In the last block that attends, only the output row of the vision tower is computed past keys and values.

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

from adaptkit import attention

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


def run_last_block(block: Block, x: Tensor) -> Tensor:
    """The first row's output of a block on x (B, L, D_v): (B, D_v). The other rows lend keys and values only."""
    attn = block.attn
    normed = block.ln_1(x)
    q = attention.split_heads(attn, attention.project_q(attn, normed[:, :1]))
    k, v = (attention.split_heads(attn, part) for part in attention.project_kv(attn, normed).chunk(2, -1))
    first = add_attention(block, x[:, :1], attention.project_out(attn, attention.attend(attn, q, k, v)))
    return add_mlp(block, first)[:, 0]


def embed_patches(tower: VisionTower, images: Tensor) -> Tensor:
    """Images (B, 3, H, W) -> class token and patches in front of the first block (B, 1 + P, D_v)."""
    patches = tower.conv1(images.to(tower.conv1.weight.dtype)).flatten(2).transpose(1, 2)  # (B, P, D_v)
    class_token = tower.class_embedding.to(patches.dtype).expand(len(images), 1, -1)
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
    n = prompts[0].shape[-2] if 0 in prompts else 0
    if any(prompt.shape[-2] != n for prompt in prompts.values()):
        raise ValueError(
            f"vision prompts per layer: { {layer: prompt.shape[-2] for layer, prompt in prompts.items()} }; "
            "every layer needs as many as layer 0"
        )
    if n:
        x = torch.cat([x, tower.ln_pre(prompts[0].to(x.dtype)).expand(len(x), -1, -1)], dim=1)
    last = last_attending(tower.blocks)
    if last < 0:
        x = x[:, 0]
    for layer, block in enumerate(tower.blocks):
        if 0 < layer <= last and layer in prompts:
            x = replace_tokens(x, x.shape[1] - n, prompts[layer])
        x = run_last_block(block, x) if layer == last else run_block(block, x)  # behind it x is (B, D_v)
    x = tower.ln_post(x)
    return x if tower.projection is None else x @ tower.projection


def replace_tokens(x: Tensor, start: int, prompts: Tensor) -> Tensor:
    """x (N, L, D) with prompts (n, D) or (N, n, D) in the place of the tokens from `start` on."""
    prompts = prompts.to(x.dtype).expand(len(x), -1, -1)
    return torch.cat([x[:, :start], prompts, x[:, start + prompts.shape[1] :]], dim=1)


def encode_full_text(
    tower: TextTower,
    x: Tensor,
    tokens: Tensor,
    ends: Tensor,
    start: int = 1,
    deep: Mapping[int, Tensor] = NO_PROMPTS,
) -> Tensor:
    """Every position of the prompts, padding included: x (N, L, D_t) -> features (N, D), not normalised.

    Args:
        x: token embeddings, before the positional embedding.
        tokens: (N, L) the ids that `x` stands for; only the padding is read from them.
        ends: (N,) position of [EOS], read by the towers that pool it.
        start: position behind [SOS].
        deep: layer -> (n, D_t); they replace the n tokens from `start` on before their block.
    """
    x, mask = x.to(tower.dtype), tower.attn_mask
    if tower.class_embedding is not None:
        x = torch.cat([x, tower.class_embedding.to(x.dtype).expand(len(x), 1, -1)], dim=1)
    if mask is not None:
        mask = mask[: x.shape[1], : x.shape[1]].to(x.device, x.dtype)
    if tower.pad_id is not None:
        mask = _hide_padding(tower, tokens, mask, x.dtype)
    x = x + tower.positional_embedding[: x.shape[1]].to(x.dtype)
    for layer, block in enumerate(tower.blocks):
        if layer in deep:
            x = replace_tokens(x, start, deep[layer])
        x = block(x, attn_mask=mask)
    if tower.pool == "first":
        pooled = x[:, 0]
    elif tower.pool == "last" or tower.class_embedding is not None:
        pooled = x[:, -1]
    else:
        pooled = x[torch.arange(len(x), device=x.device), ends]
    return tower.project(tower.ln_final(pooled))


def _hide_padding(tower: TextTower, tokens: Tensor, mask: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The additive mask (N * heads, L, L) in which nothing sees padding."""
    seen = tokens.ne(tower.pad_id or 0)  # (N, L)
    if tower.class_embedding is not None:
        always = seen.new_ones(len(seen), 1)
        seen = torch.cat([always, seen] if tower.pads_from_the_front else [seen, always], dim=1)
    hidden = torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, float("-inf"))
    full = hidden[:, None, :].expand(-1, seen.shape[1], -1)
    if mask is not None:
        full = full + mask
    heads = next((block.attn.num_heads for block in tower.blocks if hasattr(block, "attn")), 1)
    return full.repeat_interleave(heads, dim=0)
