"""Objectives of training, one per file."""

from adaptkit.objectives.cross_entropy import CrossEntropy, CrossEntropyConfig

__all__ = ["CrossEntropy", "CrossEntropyConfig"]
