"""Models of Hugging Face as open_clip models: the same weights under other names.

Image features, text features and logits equal Hugging Face's within rounding. Models that open_clip's modules cannot
compute are refused with the reason: another activation in each tower, SigLIP without its pooling head. SigLIP 2's
images of any shape become square ones, with the patches that its positions were learnt on. Text towers of
`AltCLIPModel` and `ChineseCLIPModel` stay Hugging Face's and take token ids only. Weights become fp32 copies; the
Hugging Face model stays as it is.

Letters: D joint width, D_t and D_v tower widths.
"""

from collections.abc import Callable, Mapping
from typing import cast

from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.model import CLIP, CustomTextCLIP
from torch import Tensor, nn

from adaptkit.backbone.huggingface_protocols import HuggingFaceModel, ImageProcessor, VisionConfig
from adaptkit.backbone.huggingface_siglip import convert_siglip
from adaptkit.backbone.huggingface_text import HuggingFaceText
from adaptkit.backbone.huggingface_weights import State, blocks, preprocess_facts, renamed, tower_settings

# End token of configs written before transformers 4.31: the text feature is then read at the largest id.
LEGACY_EOS = 2
INTERPOLATIONS = {2: "bilinear", 3: "bicubic"}  # PIL's numbers, as image processors store them


def convert(model: nn.Module, image_processor: ImageProcessor | None = None) -> CLIP | CustomTextCLIP:
    """An open_clip model with the weights of a Hugging Face one.

    Args:
        model: a `CLIPModel`, `SiglipModel`, `Siglip2Model`, `AltCLIPModel` or `ChineseCLIPModel`.
        image_processor: its image processor, needed if mean, deviation or interpolation differ from those of the
            released models.

    Raises:
        ValueError: if it is another class, open_clip's modules cannot compute it, or its weights do not have the sizes
            that its config says.
    """
    kinds: dict[str, Callable[[HuggingFaceModel], CLIP | CustomTextCLIP]] = {
        "CLIPModel": convert_clip,
        "SiglipModel": convert_siglip,
        "Siglip2Model": convert_siglip,
        "AltCLIPModel": convert_with_own_text,
        "ChineseCLIPModel": convert_with_own_text,
    }
    kind = type(model).__name__
    if kind not in kinds:
        hint = (
            "; pass the whole model, with both towers" if kind.startswith(("CLIPText", "CLIPVision", "Siglip")) else ""
        )
        raise ValueError(f"{kind} has no converter; there is one for {', '.join(kinds)}{hint}")
    try:
        converted = kinds[kind](cast(HuggingFaceModel, model))
    except (KeyError, RuntimeError) as error:  # Of `load_state_dict`, a line per weight.
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        first = lines[min(1, len(lines) - 1)]
        raise ValueError(
            f"the weights of this {kind} do not have the names or sizes that its config says: {first}"
        ) from error
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
        _clip_vision(vision),
        {
            **tower_settings(text),
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
        **dict(renamed(theirs, "text_model.final_layer_norm", "ln_final")),
        **blocks(theirs, "text_model", "transformer.resblocks", text.num_hidden_layers),
        **_clip_vision_state(theirs, vision),
    }
    converted.load_state_dict(state)
    converted.visual.preprocess_cfg = preprocess_facts(
        vision.image_size, OPENAI_DATASET_MEAN, OPENAI_DATASET_STD, "shortest"
    )
    return converted


def convert_with_own_text(model: HuggingFaceModel) -> CustomTextCLIP:
    """CLIP's image tower, beside a copy of the text tower as Hugging Face has it (AltCLIP's and ChineseCLIP's)."""
    vision, theirs = model.config.vision_config, model.state_dict()
    placeholder = {"width": 8, "heads": 1, "layers": 1, "context_length": 1, "vocab_size": 1}
    converted = CustomTextCLIP(
        model.config.projection_dim, _clip_vision(vision), placeholder, quick_gelu=vision.hidden_act == "quick_gelu"
    )
    visual = {name.removeprefix("visual."): tensor for name, tensor in _clip_vision_state(theirs, vision).items()}
    converted.visual.load_state_dict(visual)
    converted.logit_scale.data.copy_(theirs["logit_scale"])
    converted.text = HuggingFaceText(model, model.config.projection_dim)
    converted.context_length, converted.vocab_size = converted.text.context_length, converted.text.vocab_size
    converted.visual.preprocess_cfg = preprocess_facts(
        vision.image_size, OPENAI_DATASET_MEAN, OPENAI_DATASET_STD, "squash"
    )
    return converted


def _clip_vision(config: VisionConfig) -> dict[str, object]:
    """open_clip's settings of CLIP's image tower."""
    return {
        **tower_settings(config),
        "head_width": config.hidden_size // config.num_attention_heads,
        "image_size": config.image_size,
        "patch_size": config.patch_size,
    }


def _clip_vision_state(theirs: Mapping[str, Tensor], config: VisionConfig) -> State:
    """The weights of CLIP's image tower under open_clip's names."""
    return {
        "visual.proj": theirs["visual_projection.weight"].T,  # (D_v, D)
        "visual.conv1.weight": theirs["vision_model.embeddings.patch_embedding.weight"],
        "visual.class_embedding": theirs["vision_model.embeddings.class_embedding"],
        "visual.positional_embedding": theirs["vision_model.embeddings.position_embedding.weight"],
        **dict(renamed(theirs, "vision_model.pre_layrnorm", "visual.ln_pre")),
        **dict(renamed(theirs, "vision_model.post_layernorm", "visual.ln_post")),
        **blocks(theirs, "vision_model", "visual.transformer.resblocks", config.num_hidden_layers),
    }


def _pool_at(eos_id: int) -> dict[str, object]:
    return {"pool_type": "eos", "eos_id": eos_id}


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
