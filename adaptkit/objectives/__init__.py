"""What a training minimises, one objective a file."""

from adaptkit.objectives.cross_entropy import CrossEntropy, CrossEntropyConfig

__all__ = ["CrossEntropy", "CrossEntropyConfig"]
