"""Protocols for Hugging Face's models, their configs and image processors, so that transformers is not imported."""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor, nn


class TowerConfig(Protocol):
    """What both towers' configs of both families have."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    hidden_act: str
    layer_norm_eps: float


class TextConfig(TowerConfig, Protocol):
    """The text tower's."""

    max_position_embeddings: int
    vocab_size: int
    eos_token_id: int


class VisionConfig(TowerConfig, Protocol):
    """The image tower's."""

    image_size: int
    patch_size: int


class ModelConfig(Protocol):
    """The whole model's; `projection_dim` is CLIP's."""

    text_config: TextConfig
    vision_config: VisionConfig
    projection_dim: int


class HuggingFaceModel(Protocol):
    """The attributes of a `CLIPModel` or `SiglipModel` that conversion reads."""

    config: ModelConfig

    def state_dict(self) -> dict[str, Tensor]: ...


class ImageProcessor(Protocol):
    """The attributes of a Hugging Face image processor that conversion reads."""

    image_mean: list[float]
    image_std: list[float]
    resample: int
    size: Mapping[str, int]


def is_hugging_face(model: nn.Module) -> bool:
    """Whether a model's class comes from transformers."""
    return type(model).__module__.startswith("transformers.")
