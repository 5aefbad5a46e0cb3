"""SVLC: an objective of pairs with texts that have one wrong word, the way to write them, and their losses."""

from adaptkit.objectives.svlc.augmenter import Augmented, CaptionAugmenter
from adaptkit.objectives.svlc.inversions import inversions
from adaptkit.objectives.svlc.losses import (
    NegativeAwareLoss,
    SVLCLosses,
    images_with_negatives,
    place_negatives,
)
from adaptkit.objectives.svlc.masked_words import load_masked_words, masked_negatives
from adaptkit.objectives.svlc.matching import Found, find_words
from adaptkit.objectives.svlc.released import present_kinds, released_negatives, words_in
from adaptkit.objectives.svlc.svlc import SVLC, SVLCConfig
from adaptkit.objectives.svlc.user_words import read_synonyms, read_words
from adaptkit.objectives.svlc.word_lists import SYNONYMS, WORDS, halves

__all__ = [
    "SVLC",
    "SYNONYMS",
    "WORDS",
    "Augmented",
    "CaptionAugmenter",
    "Found",
    "NegativeAwareLoss",
    "SVLCConfig",
    "SVLCLosses",
    "find_words",
    "halves",
    "images_with_negatives",
    "inversions",
    "load_masked_words",
    "masked_negatives",
    "place_negatives",
    "present_kinds",
    "read_synonyms",
    "read_words",
    "released_negatives",
    "words_in",
]
