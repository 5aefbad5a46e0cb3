"""The image tower of an open_clip model as a `VisionTower`, or the reason why it is none.

A tower is told by its features, not by its name: whether it is a row of transformer blocks over tokens, what stands in
front of the patches, how positions enter, and how the rows become one.
"""

import timm.models.eva as timm_eva
import timm.models.vision_transformer as timm_vit
import timm.models.vision_transformer_relpos as timm_relpos
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from timm.layers import AttentionPoolLatent
from torch import nn

from adaptkit.towers.block import is_supported_block
from adaptkit.towers.pooling import AttentionPool, PatchMean
from adaptkit.towers.timm_blocks import RelativePositions, RotaryPositions, Timm, TimmBlock, whats_wrong
from adaptkit.towers.vision import VisionTower

TRUNKS = (timm_vit.VisionTransformer, timm_eva.Eva, timm_relpos.VisionTransformerRelPos)


def vision_tower_of(visual: nn.Module) -> VisionTower | None:
    """The parts of the image tower, or None if it is no vision transformer that `VisionTower` describes."""
    found = _find(visual)
    return found if isinstance(found, VisionTower) else None


def why_no_vision_tower(visual: nn.Module) -> str:
    """Why an image tower has no `VisionTower`, as the end of a sentence; empty if it has one."""
    found = _find(visual)
    return found if isinstance(found, str) else ""


def _find(visual: nn.Module) -> VisionTower | str:
    if isinstance(visual, VisionTransformer):
        return _of_open_clip(visual)
    if isinstance(visual, TimmModel):
        return _of_timm(visual)
    return f"a {type(visual).__name__}, which is built of convolutions and has no blocks over tokens"


def _of_open_clip(visual: VisionTransformer) -> VisionTower | str:
    blocks = visual.transformer.resblocks
    if not all(is_supported_block(block) for block in blocks):
        return "a VisionTransformer whose blocks are of another kind, such as those with scaled cosine attention"
    pool: PatchMean | AttentionPool | None = None
    pools_normed = False
    if visual.attn_pool is not None:
        if visual.attn_pool_contrastive is not None or visual.pool_type != "tok":
            return f"a VisionTransformer with {visual.attn_pool_type or visual.pool_type!r} pooling behind its pool"
        pool = AttentionPool(visual.attn_pool, visual.output_dim)
    elif visual.pool_type == "avg":
        pool, pools_normed = PatchMean(n_prefix=1), not visual.final_ln_after_pool
    elif visual.pool_type != "tok":
        return "a VisionTransformer that does not pool its rows"
    return VisionTower(
        conv1=visual.conv1,
        channels_last=False,
        grid=visual.grid_size,
        width=visual.class_embedding.shape[-1],
        prefix=(visual.class_embedding,),
        positional_embedding=visual.positional_embedding,
        ln_pre=visual.ln_pre,
        blocks=blocks,
        ln_post=visual.ln_post,
        pool=pool,
        pools_normed=pools_normed,
        projection=visual.proj,
    )


def _of_timm(visual: TimmModel) -> VisionTower | str:
    trunk: Timm = visual.trunk
    kind = f"timm's {type(trunk).__name__}"
    if type(trunk) not in TRUNKS:
        return f"{kind}, which has no single row of blocks over the same tokens"
    complaint = next(filter(None, map(whats_wrong, trunk.blocks)), "")
    if complaint:
        return f"{kind}, and {complaint}"
    if getattr(trunk, "rope_mixed", False):
        return f"{kind} with rotations of each block's own"
    pool = _pool_of_timm(trunk)
    if isinstance(pool, str):
        return f"{kind}, {pool}"
    norms = [norm for norm in (trunk.norm, trunk.fc_norm) if not isinstance(norm, nn.Identity)]
    # A norm of the tower stands in front of the pool, one of the classifier behind it.
    pools_normed = pool is not None and not isinstance(trunk.norm, nn.Identity)
    tail = [part for part in (*norms[1:], trunk.head, *visual.head) if not isinstance(part, nn.Identity | nn.Dropout)]
    tokens = (getattr(trunk, "cls_token", None), getattr(trunk, "reg_token", None))
    positions = _shared_positions(trunk)
    return VisionTower(
        conv1=trunk.patch_embed,
        channels_last=getattr(trunk, "dynamic_img_size", False),
        grid=tuple(trunk.patch_embed.grid_size),
        width=trunk.embed_dim,
        prefix=tuple(token for token in tokens if token is not None),
        positional_embedding=getattr(trunk, "pos_embed", None),
        ln_pre=getattr(trunk, "norm_pre", nn.Identity()),
        blocks=[TimmBlock(block, _positions_of(block, positions)) for block in trunk.blocks],
        ln_post=norms[0] if norms else nn.Identity(),
        pool=pool,
        pools_normed=pools_normed,
        projection=nn.Sequential(*tail) if tail else None,
    )


def _pool_of_timm(trunk: Timm) -> PatchMean | AttentionPool | str | None:
    """The pool of a timm tower, or what it does instead."""
    n_prefix, pool = trunk.num_prefix_tokens, getattr(trunk, "attn_pool", None)
    with_prefix = getattr(trunk, "pool_include_prefix", False)
    if pool is not None:
        if type(pool) is not AttentionPoolLatent or pool.pos_embed is not None or pool.pool != "token":
            return f"whose pool is timm's {type(pool).__name__} in a form of its own"
        leaves_prefix = isinstance(trunk, timm_vit.VisionTransformer) and not with_prefix
        width = getattr(pool.proj, "out_features", trunk.embed_dim)
        return AttentionPool(pool, width, n_prefix if leaves_prefix else 0)
    if trunk.global_pool == "token" and n_prefix:
        return None
    if trunk.global_pool == "avg":
        return PatchMean(0 if with_prefix else n_prefix)
    return f"which pools its rows by {trunk.global_pool!r}"


def _shared_positions(trunk: Timm) -> nn.Module | None:
    """How positions enter the attention of all blocks alike, or None."""
    shared = getattr(trunk, "shared_rel_pos", None)
    if shared is not None:
        return RelativePositions(shared)
    rope = getattr(trunk, "rope", None)
    if rope is None:
        return None
    attn = trunk.blocks[0].attn
    grid = tuple(trunk.patch_embed.grid_size)
    return RotaryPositions(rope, grid, attn.num_prefix_tokens, getattr(attn, "rotate_half", False))


def _positions_of(block: Timm, shared: nn.Module | None) -> nn.Module | None:
    own = getattr(block.attn, "rel_pos", None)
    return shared if own is None else RelativePositions(own)
