"""SINC's meta-model: a transformer that classifies from demonstrations in its context, its episodes and its files."""

from adaptkit.features.sinc_meta.config import SincMetaConfig
from adaptkit.features.sinc_meta.meta_file import Provenance, read_meta_model, write_meta_model
from adaptkit.features.sinc_meta.meta_model import Context, MetaModel, MetaShape
from adaptkit.features.sinc_meta.method import SincMeta
from adaptkit.features.sinc_meta.pool import EpisodeMix, Labelling, Pool, draw_batch

__all__ = [
    "Context",
    "EpisodeMix",
    "Labelling",
    "MetaModel",
    "MetaShape",
    "Pool",
    "Provenance",
    "SincMeta",
    "SincMetaConfig",
    "draw_batch",
    "read_meta_model",
    "write_meta_model",
]
