"""Wrappers: methods around methods."""

from adaptkit.wrappers.das.wrapper import DAS, DASConfig
from adaptkit.wrappers.fdt.wrapper import FDTWrapper

__all__ = ["DAS", "DASConfig", "FDTWrapper"]
