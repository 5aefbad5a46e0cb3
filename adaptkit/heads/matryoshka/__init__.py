"""Matryoshka: nested sizes of the vectors and exits of the image tower, with their losses, cascades and retrieval."""

from adaptkit.heads.matryoshka.head import Matryoshka, MatryoshkaConfig

__all__ = ["Matryoshka", "MatryoshkaConfig"]
