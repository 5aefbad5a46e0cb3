"""GPT4Image: an objective that pulls image features towards the embeddings of per-image descriptions."""

from adaptkit.objectives.gpt4image.bank import DescriptionBank, build_description_bank, read_descriptions
from adaptkit.objectives.gpt4image.gpt4image import GPT4Image, GPT4ImageConfig
from adaptkit.objectives.gpt4image.head import build_head, recorded_optimizer
from adaptkit.objectives.gpt4image.losses import DescriptionLoss, mixed_texts, noise_weights, text_losses

__all__ = [
    "DescriptionBank",
    "DescriptionLoss",
    "GPT4Image",
    "GPT4ImageConfig",
    "build_description_bank",
    "build_head",
    "mixed_texts",
    "noise_weights",
    "read_descriptions",
    "recorded_optimizer",
    "text_losses",
]
