"""Wrappers: methods around methods."""

from adaptkit.wrappers.das import DAS, DASConfig

__all__ = ["DAS", "DASConfig"]
