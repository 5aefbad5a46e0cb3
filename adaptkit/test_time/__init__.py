"""Test-time methods: what adapts to unlabelled test images, one at a time, as a stream, or all at once."""

from adaptkit.test_time.tda import TDA, TDAConfig, cached_items
from adaptkit.test_time.tpt import TPT, TPTConfig

__all__ = ["TDA", "TPT", "TDAConfig", "TPTConfig", "cached_items"]
