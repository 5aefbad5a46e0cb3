"""Finite discrete tokens: sparsemax, codebooks, the published model, and what a trained method grounds."""

from adaptkit.fdt.ground import ground, with_codebook
from adaptkit.fdt.head import FDTConfig
from adaptkit.fdt.model import FDTModel, FDTModelConfig
from adaptkit.fdt.sparsemax import sparsemax

__all__ = ["FDTConfig", "FDTModel", "FDTModelConfig", "ground", "sparsemax", "with_codebook"]
