"""Test-time methods: what adapts to unlabelled test images, one at a time, as a stream, or all at once."""

from adaptkit.test_time.mta import MTA, MTAConfig
from adaptkit.test_time.tda import TDA, TDAConfig, cached_items
from adaptkit.test_time.tpt import TPT, TPTConfig
from adaptkit.test_time.transclip import TransCLIP, TransCLIPConfig
from adaptkit.test_time.zero import Zero, ZeroConfig

__all__ = [
    "MTA",
    "TDA",
    "TPT",
    "MTAConfig",
    "TDAConfig",
    "TPTConfig",
    "TransCLIP",
    "TransCLIPConfig",
    "Zero",
    "ZeroConfig",
    "cached_items",
]
