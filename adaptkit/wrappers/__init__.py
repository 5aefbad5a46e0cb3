"""Wrappers: methods around methods."""

from adaptkit.wrappers.das.wrapper import DAS, DASConfig
from adaptkit.wrappers.descriptions import DescriptionsConfig, DescriptionsWrapper
from adaptkit.wrappers.fdt.method import FDT
from adaptkit.wrappers.fdt.wrapper import FDTWrapper
from adaptkit.wrappers.lm4visual.config import LM4VisualConfig
from adaptkit.wrappers.lm4visual.wrapper import LM4Visual
from adaptkit.wrappers.matryoshka_exits import MatryoshkaExits, MatryoshkaExitsConfig
from adaptkit.wrappers.multi_label import MultiLabel, MultiLabelConfig
from adaptkit.wrappers.posthoc_debias.wrapper import PosthocDebias, PosthocDebiasConfig
from adaptkit.wrappers.token_merging.config import TokenMergingConfig
from adaptkit.wrappers.token_merging.wrapper import TokenMerging
from adaptkit.wrappers.wise import Wise, WiseConfig

__all__ = [
    "DAS",
    "FDT",
    "DASConfig",
    "DescriptionsConfig",
    "DescriptionsWrapper",
    "FDTWrapper",
    "LM4Visual",
    "LM4VisualConfig",
    "MatryoshkaExits",
    "MatryoshkaExitsConfig",
    "MultiLabel",
    "MultiLabelConfig",
    "PosthocDebias",
    "PosthocDebiasConfig",
    "TokenMerging",
    "TokenMergingConfig",
    "Wise",
    "WiseConfig",
]
