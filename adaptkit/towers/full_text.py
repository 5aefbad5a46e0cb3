"""The text tower over every position, padding included: for towers that are not causal, and for words.

Letters: N texts, L positions, n prompt tokens, D joint width, D_t tower width.
"""

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from adaptkit.towers.block import NO_PROMPTS, replace_tokens
from adaptkit.towers.entering import grown_mask
from adaptkit.towers.text import TextTower

NOTHING_LEARNT: Mapping[int, tuple[Tensor, Tensor]] = MappingProxyType({})


def encode_full_text(
    tower: TextTower,
    x: Tensor,
    tokens: Tensor,
    ends: Tensor,
    start: int = 1,
    deep: Mapping[int, Tensor] = NO_PROMPTS,
    learnt: Mapping[int, tuple[Tensor, Tensor]] = NOTHING_LEARNT,
) -> Tensor:
    """Encode prompts at every position, padding included: x (N, L, D_t) -> features (N, D), not normalised.

    Args:
        x: token embeddings, before the positional embedding.
        tokens: (N, L) ids behind `x`; only the padding is read from them.
        ends: (N,) position of [EOS], for towers that pool it.
        start: position behind [SOS].
        deep: layer -> (n, D_t), which replace the n tokens from `start` on in front of that block.
        learnt: layer -> places (N, L) bool and as many tokens (m, D_t), which are put there in front of that block.
    """
    x = full_text_rows(tower, x, tokens, start, deep, learnt)
    if tower.pool == "first":
        pooled = x[:, 0]
    elif tower.pool == "last" or tower.class_embedding is not None:
        pooled = x[:, -1]
    else:
        pooled = x[torch.arange(len(x), device=x.device), ends]
    return tower.project(tower.ln_final(pooled))


def encode_words(tower: TextTower, tokens: Tensor, pad_id: int) -> tuple[Tensor, Tensor]:
    """Token ids (N, L) -> their rows behind the final norm (N, L', D_t), and a mask of rows up to [EOS] (N, L').

    A causal tower leaves out the rows behind the last [EOS], on which no other row depends. Texts of a tower that pools
    its first or last row end with their last token that is no padding.
    """
    if tower.pool in ("argmax", "eos"):
        ends = tower.ends(tokens)
    else:
        ends = tokens.shape[1] - 1 - (tokens != pad_id).flip(1).int().argmax(dim=1)  # (N,)
    if tower.is_causal():
        tokens = tokens[:, : int(ends.max()) + 1]
    rows = full_text_rows(tower, tower.token_embedding(tokens), tokens)[:, : tokens.shape[1]]
    return tower.ln_final(rows), torch.arange(tokens.shape[1], device=ends.device) <= ends[:, None]


def full_text_rows(
    tower: TextTower,
    x: Tensor,
    tokens: Tensor,
    start: int = 1,
    deep: Mapping[int, Tensor] = NO_PROMPTS,
    learnt: Mapping[int, tuple[Tensor, Tensor]] = NOTHING_LEARNT,
) -> Tensor:
    """Output rows (N, L, D_t) of the last block, plus one for an appended class token; see `encode_full_text`.

    Those of tokens that enter on the way are left out.
    """
    x, mask = x.to(tower.dtype), tower.attn_mask
    if tower.class_embedding is not None:
        x = torch.cat([x, tower.class_embedding.to(x.dtype).expand(len(x), 1, -1)], dim=1)
    if mask is not None:
        mask = mask[: x.shape[1], : x.shape[1]].to(x.device, x.dtype)
    if tower.pad_id is not None:
        mask = _hide_padding(tower, tokens, mask, x.dtype)
    x = x + tower.positional_embedding[: x.shape[1]].to(x.dtype)
    entered, length, n = None if tower.entering is None else tower.entering(), x.shape[1], 0
    assert entered is None or not (deep or learnt), "tokens that enter move the others out of their places"
    for layer, block in enumerate(tower.blocks):
        if layer in deep:
            x = replace_tokens(x, start, deep[layer])
        if layer in learnt:
            places, rows = learnt[layer]
            x = x.index_put(places.nonzero(as_tuple=True), rows.to(x.dtype))
        if entered is not None and layer in entered.tokens:
            x = entered.put_in(layer, x, start, n)
            if mask is not None and not n:
                mask = grown_mask(mask, start, x.shape[1] - length, is_causal=tower.attn_mask is not None)
            n = x.shape[1] - length
        x = block(x, attn_mask=mask)
    return torch.cat([x[:, :start], x[:, start + n :]], dim=1) if n else x


def _hide_padding(tower: TextTower, tokens: Tensor, mask: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Additive mask (N * heads, L, L) that hides padding from every position."""
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
