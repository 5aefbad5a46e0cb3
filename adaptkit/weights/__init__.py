"""Methods whose gradient enters inside the towers, through layers that learn."""

from adaptkit.weights.adapter import Adapter, AdapterConfig
from adaptkit.weights.clip_lora import CLIPLoRA, CLIPLoRAConfig
from adaptkit.weights.full import Full, FullConfig
from adaptkit.weights.locality_alignment.method import LocalityAlignment, LocalityAlignmentConfig
from adaptkit.weights.mma import MMA, MMAConfig
from adaptkit.weights.peft import PEFT, PEFTConfig, peft_settings
from adaptkit.weights.two_stage import TwoStage, TwoStageConfig

__all__ = [
    "MMA",
    "PEFT",
    "Adapter",
    "AdapterConfig",
    "CLIPLoRA",
    "CLIPLoRAConfig",
    "Full",
    "FullConfig",
    "LocalityAlignment",
    "LocalityAlignmentConfig",
    "MMAConfig",
    "PEFTConfig",
    "TwoStage",
    "TwoStageConfig",
    "peft_settings",
]
