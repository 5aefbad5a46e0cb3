"""Hugging Face's `SiglipModel` and `Siglip2Model` as open_clip models, with an image tower of timm."""

import math
from collections.abc import Mapping
from functools import partial

import timm.models.vision_transformer as timm_vit
from open_clip.model import CustomTextCLIP
from torch import Tensor, nn

from adaptkit.backbone.huggingface_protocols import HuggingFaceModel, VisionConfig
from adaptkit.backbone.huggingface_weights import (
    TIMM,
    State,
    activation,
    blocks,
    preprocess_facts,
    renamed,
    tower_settings,
)

SMALL_TIMM_MODEL = {"timm_model_name": "test_vit", "image_size": 160, "timm_pool": "avg", "timm_proj": "none"}


def convert_siglip(model: HuggingFaceModel) -> CustomTextCLIP:
    """SigLIP: a timm vision transformer with attention pooling, and a text transformer that is not causal.

    Raises:
        ValueError: if the image tower has no pooling head, or open_clip lacks an activation.
    """
    text, vision = model.config.text_config, model.config.vision_config
    if not getattr(vision, "vision_use_head", True):
        raise ValueError("this SiglipModel has no pooling head (vision_use_head=False), so it gives no image feature")
    converted = CustomTextCLIP(
        vision.hidden_size,
        SMALL_TIMM_MODEL,
        {
            **tower_settings(text),
            "heads": text.num_attention_heads,
            "context_length": text.max_position_embeddings,
            "vocab_size": text.vocab_size,
            "no_causal_mask": True,
            "pool_type": "last",
            "proj_bias": True,
        },
        init_logit_bias=0.0,
    )
    side = _side(vision)
    converted.visual.trunk = _siglip_trunk(vision)
    converted.visual.image_size = (side, side)
    theirs = model.state_dict()
    state = {
        "logit_scale": theirs["logit_scale"].reshape(()),
        "logit_bias": theirs["logit_bias"].reshape(()),
        "text.token_embedding.weight": theirs["text_model.embeddings.token_embedding.weight"],
        "text.positional_embedding": theirs["text_model.embeddings.position_embedding.weight"],
        **dict(renamed(theirs, "text_model.final_layer_norm", "text.ln_final")),
        **dict(renamed(theirs, "text_model.head", "text.text_projection")),
        **blocks(theirs, "text_model", "text.transformer.resblocks", text.num_hidden_layers),
        **{f"visual.trunk.{name}": tensor for name, tensor in _trunk_state(theirs, vision).items()},
    }
    converted.load_state_dict(state)
    converted.visual.preprocess_cfg = preprocess_facts(side, (0.5,) * 3, (0.5,) * 3, "squash")
    return converted


def _side(config: VisionConfig) -> int:
    """Side of SigLIP's images in pixels; SigLIP 2 names the number of its patches instead."""
    patches = getattr(config, "num_patches", None)
    return config.image_size if patches is None else math.isqrt(patches) * config.patch_size


def _siglip_trunk(config: VisionConfig) -> nn.Module:
    """timm's vision transformer in SigLIP's form; its output is the image feature (B, D_v)."""
    if config.hidden_act == "quick_gelu":
        raise ValueError("a SiglipModel with 'quick_gelu' has no equal in timm; expected gelu or gelu_pytorch_tanh")
    return timm_vit.VisionTransformer(
        img_size=_side(config),
        patch_size=config.patch_size,
        embed_dim=config.hidden_size,
        depth=config.num_hidden_layers,
        num_heads=config.num_attention_heads,
        mlp_ratio=config.intermediate_size / config.hidden_size,
        norm_layer=partial(nn.LayerNorm, eps=config.layer_norm_eps),
        act_layer=partial(nn.GELU, **activation(config.hidden_act)),
        class_token=False,
        global_pool="map",
        num_classes=0,
    )


def _as_kernel(weight: Tensor, config: VisionConfig) -> Tensor:
    """A kernel (D_v, 3, p, p) of patches p pixels wide, from SigLIP 2's weight (D_v, p * p * 3) or as it is."""
    if weight.ndim == 4:
        return weight
    return weight.unflatten(1, (config.patch_size, config.patch_size, -1)).permute(0, 3, 1, 2)


def _trunk_state(theirs: Mapping[str, Tensor], config: VisionConfig) -> State:
    """The image tower's weights under timm's names."""
    place = "vision_model"
    state = {
        "pos_embed": theirs[f"{place}.embeddings.position_embedding.weight"][None],
        **dict(renamed(theirs, f"{place}.embeddings.patch_embedding", "patch_embed.proj")),
        **dict(renamed(theirs, f"{place}.post_layernorm", "norm")),
        **dict(renamed(theirs, f"{place}.head.layernorm", "attn_pool.norm")),
        **dict(renamed(theirs, f"{place}.head.mlp.fc1", "attn_pool.mlp.fc1")),
        **dict(renamed(theirs, f"{place}.head.mlp.fc2", "attn_pool.mlp.fc2")),
        **dict(renamed(theirs, f"{place}.head.attention.out_proj", "attn_pool.proj")),
        "patch_embed.proj.weight": _as_kernel(theirs[f"{place}.embeddings.patch_embedding.weight"], config),
        "attn_pool.latent": theirs[f"{place}.head.probe"],
    }
    for kind in ("weight", "bias"):
        packed = theirs[f"{place}.head.attention.in_proj_{kind}"]  # Query, key and value in one tensor.
        state[f"attn_pool.q.{kind}"] = packed[: config.hidden_size]
        state[f"attn_pool.kv.{kind}"] = packed[config.hidden_size :]
    return state | blocks(theirs, place, "blocks", config.num_hidden_layers, TIMM)
