"""Locality alignment: a LoRA of the image tower, learnt without labels, that makes patch tokens local."""

from adaptkit.weights.locality_alignment.aligner import AlignmentConfig, LocalityAligner
from adaptkit.weights.locality_alignment.decoder import MaskEmbedDecoder, StudentHead
from adaptkit.weights.locality_alignment.losses import alignment_loss, pooled_guard
from adaptkit.weights.locality_alignment.masks import bernoulli_masks, blockwise_masks, draw_masks, uniform_masks
from adaptkit.weights.locality_alignment.method import LocalityAlignment, LocalityAlignmentConfig
from adaptkit.weights.locality_alignment.targets import (
    mask_pixels,
    masked_targets,
    target_scale,
    target_variance,
    teacher_tokens,
)

__all__ = [
    "AlignmentConfig",
    "LocalityAligner",
    "LocalityAlignment",
    "LocalityAlignmentConfig",
    "MaskEmbedDecoder",
    "StudentHead",
    "alignment_loss",
    "bernoulli_masks",
    "blockwise_masks",
    "draw_masks",
    "mask_pixels",
    "masked_targets",
    "pooled_guard",
    "target_scale",
    "target_variance",
    "teacher_tokens",
    "uniform_masks",
]
