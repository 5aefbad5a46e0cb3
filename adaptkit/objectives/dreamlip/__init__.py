"""DreamLIP: an objective of pairs with long captions, whose sentences are texts of their own and gather patches."""

from adaptkit.objectives.dreamlip.losses import (
    circle_loss,
    grouping_loss,
    patch_groups,
    patch_weights,
    sentence_scores,
    sub_caption_losses,
)
from adaptkit.objectives.dreamlip.objective import DreamLIP, DreamLIPConfig
from adaptkit.objectives.dreamlip.sub_captions import draw, merged, pieces_of, text_from_descriptors

__all__ = [
    "DreamLIP",
    "DreamLIPConfig",
    "circle_loss",
    "draw",
    "grouping_loss",
    "merged",
    "patch_groups",
    "patch_weights",
    "pieces_of",
    "sentence_scores",
    "sub_caption_losses",
    "text_from_descriptors",
]
