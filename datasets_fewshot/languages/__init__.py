"""Class names and templates in other languages, from a user's files or for the embedded emoji."""

from datasets_fewshot.languages.embedded import embedded_labels
from datasets_fewshot.languages.labels import LabelsError, LanguageLabels, MultilingualLabels

__all__ = ["LabelsError", "LanguageLabels", "MultilingualLabels", "embedded_labels"]
