"""Mod-X: an objective of pairs that come in phases, its baselines, and how far a training moved the features."""

from adaptkit.objectives.modx.class_incremental import class_incremental_loss, gated_labels
from adaptkit.objectives.modx.drift import DriftReport, drift_of, drift_report, rotation_angles, self_angles
from adaptkit.objectives.modx.l2_delta import L2Delta, L2DeltaConfig
from adaptkit.objectives.modx.losses import (
    ALPHA_OF_MEAN,
    RELEASED_ALPHA,
    Alignment,
    ModXLoss,
    alignment,
    gated_rows,
    gated_target,
    modx_loss,
    row_divergence,
)
from adaptkit.objectives.modx.lwf import LwF, LwFConfig
from adaptkit.objectives.modx.modx import ModX, ModXConfig
from adaptkit.objectives.modx.old_model import OldModel
from adaptkit.objectives.modx.recorded import clamp_logit_scale, recorded_optimizer

__all__ = [
    "ALPHA_OF_MEAN",
    "RELEASED_ALPHA",
    "Alignment",
    "DriftReport",
    "L2Delta",
    "L2DeltaConfig",
    "LwF",
    "LwFConfig",
    "ModX",
    "ModXConfig",
    "ModXLoss",
    "OldModel",
    "alignment",
    "clamp_logit_scale",
    "class_incremental_loss",
    "drift_of",
    "drift_report",
    "gated_labels",
    "gated_rows",
    "gated_target",
    "modx_loss",
    "recorded_optimizer",
    "rotation_angles",
    "row_divergence",
    "self_angles",
]
