"""Finite discrete tokens: sparsemax, codebooks, the published model, and the grounding of a trained method."""

from adaptkit.wrappers.fdt.ground import ground, with_codebook
from adaptkit.wrappers.fdt.head import FDTConfig
from adaptkit.wrappers.fdt.model import FDTModel, FDTModelConfig
from adaptkit.wrappers.fdt.sparsemax import sparsemax

__all__ = ["FDTConfig", "FDTModel", "FDTModelConfig", "ground", "sparsemax", "with_codebook"]
