"""Hugging Face's `CLIPModel` and `SiglipModel` as open_clip models: the same weights under other names.

Image features, text features and logits equal Hugging Face's within rounding. Models that open_clip's modules cannot
compute are refused with the reason: another activation in each tower, SigLIP without its pooling head, SigLIP 2 with
images of any size. Weights become fp32 copies; the Hugging Face model stays as it is.

Letters: D joint width, D_t and D_v tower widths.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import cast

import timm.models.vision_transformer as timm_vit
import torch
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.model import CLIP, CustomTextCLIP
from torch import Tensor, nn

from adaptkit.backbone.huggingface_protocols import HuggingFaceModel, ImageProcessor, TowerConfig, VisionConfig

State = dict[str, Tensor]

# End token of configs written before transformers 4.31: the text feature is then read at the largest id.
LEGACY_EOS = 2
SMALL_TIMM_MODEL = {"timm_model_name": "test_vit", "image_size": 160, "timm_pool": "avg", "timm_proj": "none"}
INTERPOLATIONS = {2: "bilinear", 3: "bicubic"}  # PIL's numbers, as image processors store them


def convert(model: nn.Module, image_processor: ImageProcessor | None = None) -> CLIP | CustomTextCLIP:
    """An open_clip model with the weights of a Hugging Face one.

    Args:
        model: a `CLIPModel` or `SiglipModel`.
        image_processor: its image processor, needed if mean, deviation or interpolation differ from those of the
            released models.

    Raises:
        ValueError: if it is another class, or open_clip's modules cannot compute it.
    """
    kinds: dict[str, Callable[[HuggingFaceModel], CLIP | CustomTextCLIP]] = {
        "CLIPModel": convert_clip,
        "SiglipModel": convert_siglip,
    }
    kind = type(model).__name__
    if kind not in kinds:
        hint = (
            "; pass the whole model, with both towers" if kind.startswith(("CLIPText", "CLIPVision", "Siglip")) else ""
        )
        raise ValueError(f"{kind} has no converter; there is one for {' and '.join(kinds)}{hint}")
    converted = kinds[kind](cast(HuggingFaceModel, model))
    if image_processor is not None:
        converted.visual.preprocess_cfg = converted.visual.preprocess_cfg | _read_processor(image_processor)
    return converted


def convert_clip(model: HuggingFaceModel) -> CLIP:
    """OpenAI's CLIP architecture with the weights of a Hugging Face `CLIPModel`.

    Raises:
        ValueError: if the towers differ in their activation, or have one that open_clip lacks.
    """
    text, vision = model.config.text_config, model.config.vision_config
    if text.hidden_act != vision.hidden_act:
        raise ValueError(
            f"the towers compute {text.hidden_act!r} and {vision.hidden_act!r}; open_clip has one activation for both"
        )
    # The text feature is read at [EOS]. Configs with the wrong end token 2 mean the largest id, as OpenAI's code did.
    pool = {"pool_type": "argmax"} if text.eos_token_id == LEGACY_EOS else _pool_at(text.eos_token_id)
    converted = CLIP(
        model.config.projection_dim,
        {
            **_tower(vision),
            "head_width": vision.hidden_size // vision.num_attention_heads,
            "image_size": vision.image_size,
            "patch_size": vision.patch_size,
        },
        {
            **_tower(text),
            **pool,
            "heads": text.num_attention_heads,
            "context_length": text.max_position_embeddings,
            "vocab_size": text.vocab_size,
        },
        quick_gelu=text.hidden_act == "quick_gelu",
    )
    theirs = model.state_dict()
    state = {
        "logit_scale": theirs["logit_scale"],
        "text_projection": theirs["text_projection.weight"].T,  # (D_t, D)
        "token_embedding.weight": theirs["text_model.embeddings.token_embedding.weight"],
        "positional_embedding": theirs["text_model.embeddings.position_embedding.weight"],
        "visual.proj": theirs["visual_projection.weight"].T,  # (D_v, D)
        "visual.conv1.weight": theirs["vision_model.embeddings.patch_embedding.weight"],
        "visual.class_embedding": theirs["vision_model.embeddings.class_embedding"],
        "visual.positional_embedding": theirs["vision_model.embeddings.position_embedding.weight"],
        **dict(_renamed(theirs, "text_model.final_layer_norm", "ln_final")),
        **dict(_renamed(theirs, "vision_model.pre_layrnorm", "visual.ln_pre")),
        **dict(_renamed(theirs, "vision_model.post_layernorm", "visual.ln_post")),
        **_blocks(theirs, "text_model", "transformer.resblocks", text.num_hidden_layers),
        **_blocks(theirs, "vision_model", "visual.transformer.resblocks", vision.num_hidden_layers),
    }
    converted.load_state_dict(state)
    converted.visual.preprocess_cfg = _preprocess(
        vision.image_size, OPENAI_DATASET_MEAN, OPENAI_DATASET_STD, "shortest"
    )
    return converted


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
            **_tower(text),
            "heads": text.num_attention_heads,
            "context_length": text.max_position_embeddings,
            "vocab_size": text.vocab_size,
            "no_causal_mask": True,
            "pool_type": "last",
            "proj_bias": True,
        },
        init_logit_bias=0.0,
    )
    converted.visual.trunk = _siglip_trunk(vision)
    converted.visual.image_size = (vision.image_size, vision.image_size)
    theirs = model.state_dict()
    state = {
        "logit_scale": theirs["logit_scale"].reshape(()),
        "logit_bias": theirs["logit_bias"].reshape(()),
        "text.token_embedding.weight": theirs["text_model.embeddings.token_embedding.weight"],
        "text.positional_embedding": theirs["text_model.embeddings.position_embedding.weight"],
        **dict(_renamed(theirs, "text_model.final_layer_norm", "text.ln_final")),
        **dict(_renamed(theirs, "text_model.head", "text.text_projection")),
        **_blocks(theirs, "text_model", "text.transformer.resblocks", text.num_hidden_layers),
        **{f"visual.trunk.{name}": tensor for name, tensor in _trunk_state(theirs, vision).items()},
    }
    converted.load_state_dict(state)
    converted.visual.preprocess_cfg = _preprocess(vision.image_size, (0.5,) * 3, (0.5,) * 3, "squash")
    return converted


def _tower(config: TowerConfig) -> dict[str, object]:
    """open_clip's settings of a tower; both towers share them."""
    return {
        "width": config.hidden_size,
        "layers": config.num_hidden_layers,
        "mlp_ratio": config.intermediate_size / config.hidden_size,
        "act_kwargs": _activation(config.hidden_act),
        "norm_kwargs": {"eps": config.layer_norm_eps},
    }


def _activation(name: str) -> dict[str, str]:
    """Arguments of `nn.GELU`; QuickGELU, a class of its own, has none."""
    known: dict[str, dict[str, str]] = {"quick_gelu": {}, "gelu": {}, "gelu_pytorch_tanh": {"approximate": "tanh"}}
    if name not in known:
        raise ValueError(f"the activation {name!r} is none of open_clip's; a tower may have {', '.join(known)}")
    return known[name]


def _pool_at(eos_id: int) -> dict[str, object]:
    return {"pool_type": "eos", "eos_id": eos_id}


def _siglip_trunk(config: VisionConfig) -> nn.Module:
    """timm's vision transformer in SigLIP's form; its output is the image feature (B, D_v)."""
    if config.hidden_act == "quick_gelu":
        raise ValueError("a SiglipModel with 'quick_gelu' has no equal in timm; expected gelu or gelu_pytorch_tanh")
    return timm_vit.VisionTransformer(
        img_size=config.image_size,
        patch_size=config.patch_size,
        embed_dim=config.hidden_size,
        depth=config.num_hidden_layers,
        num_heads=config.num_attention_heads,
        mlp_ratio=config.intermediate_size / config.hidden_size,
        norm_layer=partial(nn.LayerNorm, eps=config.layer_norm_eps),
        act_layer=partial(nn.GELU, **_activation(config.hidden_act)),
        class_token=False,
        global_pool="map",
        num_classes=0,
    )


def _trunk_state(theirs: Mapping[str, Tensor], config: TowerConfig) -> State:
    """The image tower's weights under timm's names."""
    place = "vision_model"
    state = {
        "pos_embed": theirs[f"{place}.embeddings.position_embedding.weight"][None],
        **dict(_renamed(theirs, f"{place}.embeddings.patch_embedding", "patch_embed.proj")),
        **dict(_renamed(theirs, f"{place}.post_layernorm", "norm")),
        **dict(_renamed(theirs, f"{place}.head.layernorm", "attn_pool.norm")),
        **dict(_renamed(theirs, f"{place}.head.mlp.fc1", "attn_pool.mlp.fc1")),
        **dict(_renamed(theirs, f"{place}.head.mlp.fc2", "attn_pool.mlp.fc2")),
        **dict(_renamed(theirs, f"{place}.head.attention.out_proj", "attn_pool.proj")),
        "attn_pool.latent": theirs[f"{place}.head.probe"],
    }
    for kind in ("weight", "bias"):
        packed = theirs[f"{place}.head.attention.in_proj_{kind}"]  # Query, key and value in one tensor.
        state[f"attn_pool.q.{kind}"] = packed[: config.hidden_size]
        state[f"attn_pool.kv.{kind}"] = packed[config.hidden_size :]
    for layer in range(config.num_hidden_layers):
        theirs_at, at = f"{place}.encoder.layers.{layer}", f"blocks.{layer}"
        for theirs_name, name in (
            ("layer_norm1", "norm1"),
            ("layer_norm2", "norm2"),
            ("mlp.fc1", "mlp.fc1"),
            ("mlp.fc2", "mlp.fc2"),
            ("self_attn.out_proj", "attn.proj"),
        ):
            state |= dict(_renamed(theirs, f"{theirs_at}.{theirs_name}", f"{at}.{name}"))
        for kind in ("weight", "bias"):
            state[f"{at}.attn.qkv.{kind}"] = _packed(theirs, theirs_at, kind)
    return state


def _blocks(theirs: Mapping[str, Tensor], place: str, prefix: str, layers: int) -> State:
    """A tower's blocks under the names of open_clip's residual blocks."""
    state: State = {}
    for layer in range(layers):
        theirs_at, at = f"{place}.encoder.layers.{layer}", f"{prefix}.{layer}"
        for theirs_name, name in (
            ("layer_norm1", "ln_1"),
            ("layer_norm2", "ln_2"),
            ("mlp.fc1", "mlp.c_fc"),
            ("mlp.fc2", "mlp.c_proj"),
            ("self_attn.out_proj", "attn.out_proj"),
        ):
            state |= dict(_renamed(theirs, f"{theirs_at}.{theirs_name}", f"{at}.{name}"))
        for kind in ("weight", "bias"):
            state[f"{at}.attn.in_proj_{kind}"] = _packed(theirs, theirs_at, kind)
    return state


def _packed(theirs: Mapping[str, Tensor], block: str, kind: str) -> Tensor:
    """Query, key and value projections in one tensor: (3 D, D) or (3 D,)."""
    return torch.cat([theirs[f"{block}.self_attn.{part}_proj.{kind}"] for part in "qkv"])


def _renamed(theirs: Mapping[str, Tensor], name: str, to: str) -> Iterator[tuple[str, Tensor]]:
    """Weight and bias of a layer under another name."""
    for kind in ("weight", "bias"):
        yield f"{to}.{kind}", theirs[f"{name}.{kind}"]


def _preprocess(size: int, mean: tuple[float, ...], std: tuple[float, ...], resize_mode: str) -> dict[str, object]:
    """Preprocessing of images in the released models of a family."""
    return {"size": size, "mean": mean, "std": std, "interpolation": "bicubic", "resize_mode": resize_mode}


def _read_processor(processor: ImageProcessor) -> dict[str, object]:
    if int(processor.resample) not in INTERPOLATIONS:
        raise ValueError(
            f"the image processor resamples with PIL's filter {int(processor.resample)}; expected one of "
            f"{', '.join(f'{number} ({name})' for number, name in INTERPOLATIONS.items())}"
        )
    return {
        "mean": tuple(processor.image_mean),
        "std": tuple(processor.image_std),
        "interpolation": INTERPOLATIONS[int(processor.resample)],
        "resize_mode": "shortest" if "shortest_edge" in dict(processor.size) else "squash",
    }
