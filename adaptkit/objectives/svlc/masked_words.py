"""Negatives by a masked language model: one word of a caption is hidden, and another that the model proposes comes in.

The paper (arXiv:2211.11733) calls them negatives by a large language model. They need spaCy with a model that tags
parts of speech, and transformers with a fill-mask model, both on this machine already; nothing is downloaded.

Departure: the released code strips the punctuation of the negative and leaves the caption's, which a model can learn to
    tell them by. Here the word is replaced within the caption, and all else stays.
Departure: of a caption longer than 512 characters the released code takes the first 100. Here the model sees 256
    characters on both sides of the hidden word.
"""

import importlib
import random
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from adaptkit.objectives.svlc.matching import Found, fits_article, replaced
from adaptkit.regular_file import user_path

TAGS = ("VERB", "NOUN", "ADP", "ADJ", "PROPN")
AROUND = 256  # characters on each side of the hidden word that the model sees
WORD = re.compile(r"\w[\w'-]*")
ARTICLE = re.compile(r"\b(an?)\s$", re.IGNORECASE)

Tag = Callable[[str], Sequence[tuple[int, int]]]  # caption -> start and end of every word that may be replaced
Propose = Callable[[str, str], Sequence[str]]  # text before and behind the hidden word -> proposals, best first
MaskedWords = Callable[[str, int, random.Random], tuple[str, ...]]


def masked_negatives(
    caption: str, places: Sequence[tuple[int, int]], propose: Propose, num_negs: int, draw: random.Random
) -> tuple[str, ...]:
    """Up to `num_negs` different negatives, each with one word that a masked language model proposes.

    Args:
        places: start and end of every word that may be replaced, in characters.
        propose: what may stand between two texts; words that are the hidden one, are no word, or do not fit an
            article before them do not count.
    """
    negatives: list[str] = []
    for start, end in draw.sample(list(places), len(places)) * num_negs:
        if len(negatives) == num_negs:
            break
        article = ARTICLE.search(caption[:start])
        place = Found(start, end, (), article[1].lower() if article else "")
        texts = [
            replaced(caption, place, word)
            for given in propose(caption[:start], caption[end:])
            if WORD.fullmatch(word := given.strip()) and word.lower() != caption[start:end].lower()
            if fits_article(word.lower(), place.article)
        ]
        left = [text for text in dict.fromkeys(texts) if text not in negatives]
        if left:
            negatives.append(draw.choice(left))
    return tuple(negatives)


def load_masked_words(model: str | Path, tagger: str = "en_core_web_sm", tags: Sequence[str] = TAGS) -> MaskedWords:
    """What writes negatives with a fill-mask model in a folder and a spaCy model, both on this machine.

    Args:
        model: folder of a model of transformers with safetensors.
        tagger: name of an installed spaCy model, or the folder of one.
        tags: parts of speech, by spaCy's names, that are replaced.

    Raises:
        ValueError: if spaCy, transformers or one of the models is not there; nothing is fetched.
    """
    spacy, transformers = (_installed(name) for name in ("spacy", "transformers"))
    folder = user_path(model, "folder of a fill-mask model")
    if not folder.is_dir():
        raise ValueError(f"there is no folder {str(model)!r} of a fill-mask model; download one there first")
    try:
        tagging = spacy.load(tagger)
    except OSError as error:
        raise ValueError(f"spaCy has no model {tagger!r} here ({error}); install it, or name one that is") from None
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        net = transformers.AutoModelForMaskedLM.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise ValueError(f"{str(model)!r} is no fill-mask model of transformers with safetensors: {error}") from None
    propose = _proposals(transformers.pipeline("fill-mask", model=net.eval(), tokenizer=tokenizer))

    def write(caption: str, num_negs: int, draw: random.Random) -> tuple[str, ...]:
        places = [(word.idx, word.idx + len(word.text)) for word in tagging(caption) if word.pos_ in tags]
        return masked_negatives(caption, places, propose, num_negs, draw)

    return write


def _proposals(fill: Any) -> Propose:
    @lru_cache(maxsize=100_000)
    def propose(before: str, behind: str) -> tuple[str, ...]:
        text = before[-AROUND:] + fill.tokenizer.mask_token + behind[:AROUND]
        return tuple(one["token_str"] for one in fill(text))

    return propose


def _installed(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ValueError(
            f"negatives by a masked language model need {name}, which is not installed: pip install {name}; or leave "
            "them out and take those by rules"
        ) from None
