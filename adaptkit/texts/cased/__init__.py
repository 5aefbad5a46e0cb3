"""CaSED: vocabulary-free naming of images from an index of captions."""

from adaptkit.texts.cased.candidates import CandidateOptions, candidates
from adaptkit.texts.cased.head import Cased, CasedConfig
from adaptkit.texts.cased.index import CaptionIndex, in_memory
from adaptkit.texts.cased.index_files import build_index, open_index, read_captions
from adaptkit.texts.cased.metrics import cluster_accuracy, clusters, semantic_iou, semantic_ious
from adaptkit.texts.cased.naming import Naming

__all__ = [
    "CandidateOptions",
    "CaptionIndex",
    "Cased",
    "CasedConfig",
    "Naming",
    "build_index",
    "candidates",
    "cluster_accuracy",
    "clusters",
    "in_memory",
    "open_index",
    "read_captions",
    "semantic_iou",
    "semantic_ious",
]
