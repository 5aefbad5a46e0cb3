"""Methods whose gradient enters after the towers; they train on cached features."""

from adaptkit.features.clap import CLAP, CLAPConfig
from adaptkit.features.clip_adapter import CLIPAdapter, CLIPAdapterConfig
from adaptkit.features.gda import GDA, GDAConfig
from adaptkit.features.linear_probe import LinearProbe, LinearProbeConfig
from adaptkit.features.lp_plus_plus import LPPlusPlus, LPPlusPlusConfig
from adaptkit.features.prolip import ProLIP, ProLIPConfig
from adaptkit.features.ranking_heads import RankingHeads, RankingHeadsConfig
from adaptkit.features.sinc_meta import SincMeta, SincMetaConfig
from adaptkit.features.taskres import TaskRes, TaskResConfig
from adaptkit.features.tip_adapter import TipAdapter, TipAdapterConfig
from adaptkit.features.tip_adapter_f import TipAdapterF
from adaptkit.features.zero_shot import ZeroShot, ZeroShotConfig

__all__ = [
    "CLAP",
    "GDA",
    "CLAPConfig",
    "CLIPAdapter",
    "CLIPAdapterConfig",
    "GDAConfig",
    "LPPlusPlus",
    "LPPlusPlusConfig",
    "LinearProbe",
    "LinearProbeConfig",
    "ProLIP",
    "ProLIPConfig",
    "RankingHeads",
    "RankingHeadsConfig",
    "SincMeta",
    "SincMetaConfig",
    "TaskRes",
    "TaskResConfig",
    "TipAdapter",
    "TipAdapterConfig",
    "TipAdapterF",
    "ZeroShot",
    "ZeroShotConfig",
]
