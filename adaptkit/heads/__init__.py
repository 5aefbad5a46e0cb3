"""Heads: what stands behind the towers and answers something else than a class, one per file."""

from adaptkit.heads.close import Close, CloseConfig, ClosePairs, ClosePairsConfig, CloseTagger, CloseTaggerConfig
from adaptkit.heads.isa import Isa, IsaConfig
from adaptkit.heads.matryoshka import Matryoshka, MatryoshkaConfig
from adaptkit.heads.multimodal_linking import MultimodalLinking, MultimodalLinkingConfig
from adaptkit.heads.uniqa_adapter import UniQAAdapter, UniQAAdapterConfig
from adaptkit.heads.villa import RegionAttributeMapper, VillaConfig

__all__ = [
    "Close",
    "CloseConfig",
    "ClosePairs",
    "ClosePairsConfig",
    "CloseTagger",
    "CloseTaggerConfig",
    "Isa",
    "IsaConfig",
    "Matryoshka",
    "MatryoshkaConfig",
    "MultimodalLinking",
    "MultimodalLinkingConfig",
    "RegionAttributeMapper",
    "UniQAAdapter",
    "UniQAAdapterConfig",
    "VillaConfig",
]
