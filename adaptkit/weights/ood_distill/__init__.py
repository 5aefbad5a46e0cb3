"""Distillation of an image tower into a small student that lives in the teacher's joint space."""

from adaptkit.weights.ood_distill.losses import (
    DistillationLossConfig,
    alignment_loss,
    caption_loss,
    classification_loss,
    distance_loss,
    distillation_terms,
    image_contrast_loss,
)
from adaptkit.weights.ood_distill.retrieval import retrieval_logits, zero_shot_logits

__all__ = [
    "DistillationLossConfig",
    "alignment_loss",
    "caption_loss",
    "classification_loss",
    "distance_loss",
    "distillation_terms",
    "image_contrast_loss",
    "retrieval_logits",
    "zero_shot_logits",
]
