"""The name that `trainers.evaluation.logits` had up to version 0.1; it goes with version 0.3."""

import warnings

from trainers.evaluation.logits import evaluate, predict

warnings.warn(
    "trainers.evaluate is trainers.evaluation.logits now; the old name goes with version 0.3",
    DeprecationWarning,
    stacklevel=2,
)

__all__ = ["evaluate", "predict"]
