"""Objectives of training, one per file or folder."""

from adaptkit.objectives.cross_entropy import CrossEntropy, CrossEntropyConfig
from adaptkit.objectives.dreamlip import DreamLIP, DreamLIPConfig
from adaptkit.objectives.gist import GIST, GISTConfig
from adaptkit.objectives.gpt4image import GPT4Image, GPT4ImageConfig
from adaptkit.objectives.hinge import Hinge, HingeConfig
from adaptkit.objectives.info_nce import InfoNCE, InfoNCEConfig
from adaptkit.objectives.modx import L2Delta, L2DeltaConfig, LwF, LwFConfig, ModX, ModXConfig
from adaptkit.objectives.ogen import OGEN, OGENConfig
from adaptkit.objectives.siglip import SigLIP, SigLIPConfig
from adaptkit.objectives.svlc import SVLC, SVLCConfig

__all__ = [
    "GIST",
    "OGEN",
    "SVLC",
    "CrossEntropy",
    "CrossEntropyConfig",
    "DreamLIP",
    "DreamLIPConfig",
    "GISTConfig",
    "GPT4Image",
    "GPT4ImageConfig",
    "Hinge",
    "HingeConfig",
    "InfoNCE",
    "InfoNCEConfig",
    "L2Delta",
    "L2DeltaConfig",
    "LwF",
    "LwFConfig",
    "ModX",
    "ModXConfig",
    "OGENConfig",
    "SVLCConfig",
    "SigLIP",
    "SigLIPConfig",
]
