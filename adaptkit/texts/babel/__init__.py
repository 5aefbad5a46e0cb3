"""Babel: a head that adapts the text tower to one language, and texts that are longer than the context."""

from adaptkit.texts.babel.head import Babel, BabelConfig
from adaptkit.texts.babel.losses import alignment_loss
from adaptkit.texts.babel.reading import TextReader

__all__ = ["Babel", "BabelConfig", "TextReader", "alignment_loss"]
