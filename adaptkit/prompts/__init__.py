"""Methods whose gradient enters before the towers, through learnt tokens."""

from adaptkit.layers.context import LearnedContext
from adaptkit.prompts.cocoop import CoCoOp, CoCoOpConfig
from adaptkit.prompts.coop import CoOp, CoOpConfig
from adaptkit.prompts.ctp_tft import CTPTFT, CrossAttention, CTPTFTConfig
from adaptkit.prompts.ivlp import IVLP, IVLPConfig
from adaptkit.prompts.kgcoop import KgCoOp, KgCoOpConfig
from adaptkit.prompts.maple import MaPLe, MaPLeConfig
from adaptkit.prompts.mmrl import MMRL, MMRLConfig
from adaptkit.prompts.prograd import ProGrad, ProGradConfig
from adaptkit.prompts.promptkd import PromptKD, PromptKDConfig
from adaptkit.prompts.promptsrc import PromptSRC, PromptSRCConfig
from adaptkit.prompts.tcp import TCP, ClassPromptNet, TCPConfig
from adaptkit.prompts.vpt import VPT, VPTConfig

__all__ = [
    "CTPTFT",
    "IVLP",
    "MMRL",
    "TCP",
    "VPT",
    "CTPTFTConfig",
    "ClassPromptNet",
    "CoCoOp",
    "CoCoOpConfig",
    "CoOp",
    "CoOpConfig",
    "CrossAttention",
    "IVLPConfig",
    "KgCoOp",
    "KgCoOpConfig",
    "LearnedContext",
    "MMRLConfig",
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
