"""The plain twin of the token tree: every class, every position, unmodified blocks, as in the papers' code."""

from collections.abc import Mapping

import torch
from open_clip.model import CLIP
from torch import Tensor, nn

from adaptkit import FrozenCLIP
from adaptkit.towers.token_tree import PromptTokens


def text_features(
    backbone: FrozenCLIP, prompts: PromptTokens, ctx: Tensor | None = None, deep: Mapping[int, Tensor] | None = None
) -> Tensor:
    """Encode ctx (S, D_t) and deep prompts through all positions: (C, D), not normalised.

    Args:
        deep: layer -> (n, D_t), or (C, n, D_t) for each class its own.
    """
    model = backbone.model
    text = model if isinstance(model, CLIP) else model.text
    rows = []
    if ctx is None:
        ctx = torch.empty(0, backbone.text_width)  # no slot is learnt
    for ids, slots in zip(prompts.ids, prompts.slots, strict=True):
        rows.append(
            torch.stack(
                [
                    text.token_embedding.weight[token] if slot < 0 else ctx[slot]
                    for token, slot in zip(ids.tolist(), slots.tolist(), strict=True)
                ]
            )
        )
    x = torch.stack(rows).to(backbone.dtype)  # (C, L, D_t)
    mask = text.attn_mask
    if getattr(text, "cls_emb", None) is not None:
        x = torch.cat([x, text.cls_emb.expand(len(x), 1, -1)], dim=1)
    if getattr(text, "use_pad_mask", False) or getattr(text, "cls_emb", None) is not None:
        padding = text._build_additive_mask(prompts.ids, x.shape[1], x.dtype)
        mask = padding if mask is None else mask + padding
    x = x + text.positional_embedding[: x.shape[1]]
    for layer, block in enumerate(text.transformer.resblocks):
        if deep and layer in deep:
            n = deep[layer].shape[-2]
            start = prompts.start
            x = torch.cat([x[:, :start], deep[layer].expand(len(x), -1, -1), x[:, start + n :]], dim=1)
        x = block(x, attn_mask=None if mask is None else mask.to(x.dtype))
    x = text.ln_final(x)
    pool = text.text_pool_type if isinstance(model, CLIP) else text.pool_type
    if getattr(text, "cls_emb", None) is not None or pool == "last":
        x = x[:, -1]
    elif pool == "first":
        x = x[:, 0]
    else:
        x = x[torch.arange(len(x)), prompts.ends]
    projection = text.text_projection
    return projection(x) if isinstance(projection, nn.Linear) else x @ projection
