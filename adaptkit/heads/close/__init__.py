"""CLOSE: heads that learn on texts alone and answer on images: a classifier, a tagger, and verdicts on pairs."""

from adaptkit.heads.close.classifier import Close, CloseConfig
from adaptkit.heads.close.close_pairs import ClosePairs, ClosePairsConfig
from adaptkit.heads.close.close_tagger import CloseTagger, CloseTaggerConfig

__all__ = ["Close", "CloseConfig", "ClosePairs", "ClosePairsConfig", "CloseTagger", "CloseTaggerConfig"]
