"""Methods that work on the side of the classes: what is said of them in words."""

from adaptkit.texts.babel.head import Babel, BabelConfig
from adaptkit.texts.cased.head import Cased, CasedConfig
from adaptkit.texts.classify_by_description.config import ClassifyByDescriptionConfig
from adaptkit.texts.classify_by_description.method import ClassifyByDescription
from adaptkit.texts.descriptions import DescriptionError, Descriptions, Descriptor, read_descriptions
from adaptkit.texts.phrases import PhraseStyle, descriptor_prompt, parse_descriptors

__all__ = [
    "Babel",
    "BabelConfig",
    "Cased",
    "CasedConfig",
    "ClassifyByDescription",
    "ClassifyByDescriptionConfig",
    "DescriptionError",
    "Descriptions",
    "Descriptor",
    "PhraseStyle",
    "descriptor_prompt",
    "parse_descriptors",
    "read_descriptions",
]
