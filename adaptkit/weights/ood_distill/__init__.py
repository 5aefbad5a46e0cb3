"""Distillation of an image tower into a small student that lives in the teacher's joint space."""

from adaptkit.artefacts.students import save_student
from adaptkit.backbone.student import as_student, load_student
from adaptkit.backbone.student_tower import StudentPlan, StudentTower, plan_for
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
from adaptkit.weights.ood_distill.trainee import StudentInTraining

__all__ = [
    "DistillationLossConfig",
    "StudentInTraining",
    "StudentPlan",
    "StudentTower",
    "alignment_loss",
    "as_student",
    "caption_loss",
    "classification_loss",
    "distance_loss",
    "distillation_terms",
    "image_contrast_loss",
    "load_student",
    "plan_for",
    "retrieval_logits",
    "save_student",
    "zero_shot_logits",
]
