"""The name that `trainers.training.optim` had up to version 0.1; it goes with version 0.3."""

from trainers.config.training import OptimConfig

__all__ = ["OptimConfig"]
