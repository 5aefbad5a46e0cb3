"""The captions inside the package: a sentence for each common noun of things that can be seen, from WordNet.

`adaptkit/mini/NOTICE` has their source and licence. They are encoded by the backbone that asks, once per process.
"""

import re
from collections import OrderedDict
from functools import cache
from pathlib import Path

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.texts.cased.index import CaptionIndex, digest_of, in_memory
from adaptkit.texts.cased.index_files import read_captions

CAPTIONS = Path(__file__).parents[2] / "mini" / "wordnet_captions.txt.gz"
NAME = "shipped captions"
KEPT_INDEXES = 4  # of different backbones
_indexes: "OrderedDict[str, CaptionIndex]" = OrderedDict()


@cache
def shipped_captions() -> tuple[str, ...]:
    """The captions, such as "a photo of a dachshund, hunting dog."."""
    return tuple(read_captions(CAPTIONS))


def shipped_names() -> tuple[str, ...]:
    """The nouns that the captions are about, such as "dachshund"."""
    return tuple(re.sub(r"^a photo of an? |[,.].*$", "", caption) for caption in shipped_captions())


@cache
def shipped_digest() -> str:
    """Checksum of the captions, the same for every backbone."""
    return digest_of(shipped_captions())


def shipped_index(backbone: FrozenCLIP) -> CaptionIndex:
    """The index of the shipped captions for a backbone, encoded when it is first asked for."""
    key = f"{backbone.weights_hash} {backbone.context_length}"
    if key not in _indexes:
        _indexes[key] = in_memory(shipped_captions(), backbone, name=NAME)
    _indexes.move_to_end(key)
    while len(_indexes) > KEPT_INDEXES:
        _indexes.popitem(last=False)
    return _indexes[key]
