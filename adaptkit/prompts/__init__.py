"""Methods whose gradient enters before the towers, through learnt tokens."""

from adaptkit.layers.context import LearnedContext
from adaptkit.prompts.cocoop import CoCoOp, CoCoOpConfig
from adaptkit.prompts.coop import CoOp, CoOpConfig
from adaptkit.prompts.ivlp import IVLP, IVLPConfig
from adaptkit.prompts.kgcoop import KgCoOp, KgCoOpConfig
from adaptkit.prompts.maple import MaPLe, MaPLeConfig
from adaptkit.prompts.prograd import ProGrad, ProGradConfig
from adaptkit.prompts.promptkd import PromptKD, PromptKDConfig
from adaptkit.prompts.promptsrc import PromptSRC, PromptSRCConfig
from adaptkit.prompts.tcp import TCP, ClassPromptNet, TCPConfig
from adaptkit.prompts.vpt import VPT, VPTConfig

__all__ = [
    "IVLP",
    "TCP",
    "VPT",
    "ClassPromptNet",
    "CoCoOp",
    "CoCoOpConfig",
    "CoOp",
    "CoOpConfig",
    "IVLPConfig",
    "KgCoOp",
    "KgCoOpConfig",
    "LearnedContext",
    "MaPLe",
    "MaPLeConfig",
    "ProGrad",
    "ProGradConfig",
    "PromptKD",
    "PromptKDConfig",
    "PromptSRC",
    "PromptSRCConfig",
    "TCPConfig",
    "VPTConfig",
]
