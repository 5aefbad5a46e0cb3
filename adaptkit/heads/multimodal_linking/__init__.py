"""Multimodal linking: records of an image, a text or both, pooled into one vector, linked and clustered."""

from adaptkit.heads.multimodal_linking.clusters import SpanningTree, clusters_of, single_linkage, spanning_tree
from adaptkit.heads.multimodal_linking.head import MultimodalLinking, MultimodalLinkingConfig
from adaptkit.heads.multimodal_linking.index import Link, PooledIndex
from adaptkit.heads.multimodal_linking.losses import margin_contrastive_loss, supcon_loss
from adaptkit.heads.multimodal_linking.matching import RELEASED_TEMPERATURES, residual_pool
from adaptkit.heads.multimodal_linking.metrics import (
    Agreed,
    adjusted_rand,
    b_cubed,
    normalised_mutual_information,
    pairwise,
    top1_link_accuracy,
)
from adaptkit.heads.multimodal_linking.mining import hard_negatives, mined_batches
from adaptkit.heads.multimodal_linking.pooling import pooled
from adaptkit.heads.multimodal_linking.records import RecordFeatures, records_of
from adaptkit.heads.multimodal_linking.rerank import matcher_scores, reranked
from adaptkit.heads.multimodal_linking.thresholds import (
    TunedPooling,
    TunedThreshold,
    group_numbers,
    tune_pooling,
    tune_threshold,
)
from adaptkit.heads.multimodal_linking.token_matcher import (
    RecordTokens,
    Scores,
    TokenMatcher,
    contrastive_of_records,
    intra_modal_contrastive_loss,
    matching_cross_entropy,
    matching_loss,
)

__all__ = [
    "RELEASED_TEMPERATURES",
    "Agreed",
    "Link",
    "MultimodalLinking",
    "MultimodalLinkingConfig",
    "PooledIndex",
    "RecordFeatures",
    "RecordTokens",
    "Scores",
    "SpanningTree",
    "TokenMatcher",
    "TunedPooling",
    "TunedThreshold",
    "adjusted_rand",
    "b_cubed",
    "clusters_of",
    "contrastive_of_records",
    "group_numbers",
    "hard_negatives",
    "intra_modal_contrastive_loss",
    "margin_contrastive_loss",
    "matcher_scores",
    "matching_cross_entropy",
    "matching_loss",
    "mined_batches",
    "normalised_mutual_information",
    "pairwise",
    "pooled",
    "records_of",
    "reranked",
    "residual_pool",
    "single_linkage",
    "spanning_tree",
    "supcon_loss",
    "top1_link_accuracy",
    "tune_pooling",
    "tune_threshold",
]
