"""Test-time methods: what adapts to unlabelled test images, one at a time, as a stream, or all at once."""

from adaptkit.test_time.tpt import TPT, TPTConfig
from adaptkit.test_time.transclip import TransCLIP, TransCLIPConfig

__all__ = ["TPT", "TPTConfig", "TransCLIP", "TransCLIPConfig"]
