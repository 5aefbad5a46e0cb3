"""ViLLA: a head that finds which region of an image carries which attribute of its text, and what it teaches."""

from adaptkit.heads.villa.assignment import MappingQuality, assign, mapping_quality
from adaptkit.heads.villa.boxes import check_boxes, grid_boxes
from adaptkit.heads.villa.losses import mapping_loss, pooled_cosines, region_text_loss
from adaptkit.heads.villa.mapper import Mapped, RegionAttributeMapper, VillaConfig
from adaptkit.heads.villa.projections import Projections, attribute_cosines
from adaptkit.heads.villa.region_features import image_region_features, picture_features
from adaptkit.heads.villa.region_texts import (
    RegionText,
    listed_attributes,
    mean_embedding,
    naming_sentences,
    region_text,
    sentences_of,
)

__all__ = [
    "Mapped",
    "MappingQuality",
    "Projections",
    "RegionAttributeMapper",
    "RegionText",
    "VillaConfig",
    "assign",
    "attribute_cosines",
    "check_boxes",
    "grid_boxes",
    "image_region_features",
    "listed_attributes",
    "mapping_loss",
    "mapping_quality",
    "mean_embedding",
    "naming_sentences",
    "picture_features",
    "pooled_cosines",
    "region_text",
    "region_text_loss",
    "sentences_of",
]
