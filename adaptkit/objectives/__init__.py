"""Objectives of training, one per file or folder."""

from adaptkit.objectives.cross_entropy import CrossEntropy, CrossEntropyConfig
from adaptkit.objectives.gist import GIST, GISTConfig
from adaptkit.objectives.gpt4image import GPT4Image, GPT4ImageConfig
from adaptkit.objectives.info_nce import InfoNCE, InfoNCEConfig
from adaptkit.objectives.siglip import SigLIP, SigLIPConfig
from adaptkit.objectives.svlc import SVLC, SVLCConfig

__all__ = [
    "GIST",
    "SVLC",
    "CrossEntropy",
    "CrossEntropyConfig",
    "GISTConfig",
    "GPT4Image",
    "GPT4ImageConfig",
    "InfoNCE",
    "InfoNCEConfig",
    "SVLCConfig",
    "SigLIP",
    "SigLIPConfig",
]
