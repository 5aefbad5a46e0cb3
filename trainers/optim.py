"""The name that `trainers.training.optim` had up to version 0.1; it goes with version 0.3."""

import warnings

from trainers.config.training import OptimConfig

warnings.warn(
    "trainers.optim is trainers.training.optim now; the old name goes with version 0.3",
    DeprecationWarning,
    stacklevel=2,
)

__all__ = ["OptimConfig"]
