"""The name that `trainers.training.few_shot` had up to version 0.1; it goes with version 0.3."""

from trainers.training.few_shot import DivergedError, TrainLog, train

__all__ = ["DivergedError", "TrainLog", "train"]
