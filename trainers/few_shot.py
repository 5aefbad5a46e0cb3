"""The name that `trainers.training.few_shot` had up to version 0.1; it goes with version 0.3."""

import warnings

from trainers.training.few_shot import DivergedError, TrainLog, train

warnings.warn(
    "trainers.few_shot is trainers.training.few_shot now; the old name goes with version 0.3",
    DeprecationWarning,
    stacklevel=2,
)

__all__ = ["DivergedError", "TrainLog", "train"]
