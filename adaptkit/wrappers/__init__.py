"""Wrappers: methods around methods."""

from adaptkit.wrappers.das.wrapper import DAS, DASConfig
from adaptkit.wrappers.fdt.method import FDT
from adaptkit.wrappers.fdt.wrapper import FDTWrapper
from adaptkit.wrappers.matryoshka_exits import MatryoshkaExits, MatryoshkaExitsConfig

__all__ = ["DAS", "FDT", "DASConfig", "FDTWrapper", "MatryoshkaExits", "MatryoshkaExitsConfig"]
