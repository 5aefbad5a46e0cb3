"""The embedded image-text pairs: drawings of the embedded archives that pre-training never saw, with captions.

Emoji have captions of their names and keywords, clip art those of its artists' titles, descriptions and keywords. All
drawings of a thing are in one part, and no drawing that an embedded data set tests on is in the train part.
"""

import json
from pathlib import Path
from typing import cast

from datasets_fewshot.mini.suite import FOLDER
from datasets_fewshot.pairs.pair_set import Captioned, PairSet

SHORT, LONG = "mini_pairs", "mini_pairs_long"
EMBEDDED = (SHORT, LONG)
FILE = FOLDER / "pairs.json"

Row = tuple[str, str, list[str], list[str]]  # thing, part, captions, and paths of the drawings that they describe


def load_embedded(name: str) -> PairSet:
    """Load "mini_pairs", up to five captions for each drawing, or "mini_pairs_long", one long caption for each."""
    rows = cast(list[Row], json.loads(FILE.read_text(encoding="utf-8")))
    parts: dict[str, list[Captioned]] = {"train": [], "val": [], "test": []}
    for thing, part, short, paths in rows:
        captions = (long_caption(short),) if name == LONG else tuple(short)
        parts[part] += [Captioned(path, captions, thing) for path in paths]
    train, val, test = (tuple(own) for own in parts.values())
    return PairSet(name, Path(FOLDER / "images"), train, val, test)


def long_caption(captions: list[str]) -> str:
    """One text of several sentences, composed of an image's captions."""
    return " ".join(f"{caption[:1].upper()}{caption[1:]}." for caption in captions)
