"""The name that `trainers.evaluation.logits` had up to version 0.1; it goes with version 0.3."""

from trainers.evaluation.logits import evaluate, predict

__all__ = ["evaluate", "predict"]
