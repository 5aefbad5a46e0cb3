"""An index of captions: their text features, searched by inner product with image features.

    index/
        meta.json                  the backbone and its weights' hash, the template, the SHA-256 of every other file
        captions.txt               one caption a line
        caption_ends.npy           (N,) int64, the byte behind each caption
        embeddings_00000.npy ...   (n, D) float16, unit rows, in the order of the captions

All but `meta.json` is memory-mapped, so an index may be larger than memory. It answers only for the text tower that
made it.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.vectors.rows import Found, Half, UnitRows

TEMPLATE = "{}"  # captions are sentences already
TEXTS_AT_ONCE = 256


@dataclass(frozen=True)
class Encoder:
    """What made the rows of an index."""

    model: str
    pretrained: str | None
    weights_sha256: str  # of the whole backbone, `FrozenCLIP.weights_hash`
    dtype: str
    template: str


class CaptionIndex:
    """Captions with the text features of one backbone.

    Args:
        name: how messages call it.
        digest: SHA-256 of its content.
        shards: parts (n, D) of the rows, float16.
    """

    def __init__(self, name: str, captions: Sequence[str], shards: Sequence[Half], encoder: Encoder, digest: str):
        self.name, self.captions, self.encoder, self.digest = name, captions, encoder, digest
        self.vectors = UnitRows(shards)

    def __len__(self) -> int:
        return len(self.captions)

    @property
    def dim(self) -> int:
        """Joint width D of the backbone that made it."""
        return self.vectors.dim

    def check_backbone(self, backbone: FrozenCLIP) -> None:
        """Refuse a backbone whose text tower did not make this index.

        Raises:
            ValueError: if it is another model, has other weights, or holds them in another precision.
        """
        if backbone.weights_hash == self.encoder.weights_sha256:
            return
        made_with, dtype = self.encoder.model, dtype_of(backbone)
        if made_with != backbone.name:
            why = f"with {made_with}"
        elif dtype != self.encoder.dtype:
            why = f"with {made_with} in {self.encoder.dtype}, and its weights are {dtype} here"
        else:
            why = f"with other weights of {made_with} ({self.encoder.weights_sha256[:12]})"
        raise ValueError(
            f"the index of captions {self.name!r} was made {why}, and cannot be searched with features of "
            f"{backbone.name} (weights {backbone.weights_hash[:12]}); build one with `adaptkit captions build`"
        )

    def rows(self, places: Sequence[int]) -> Tensor:
        """Unit rows (K, D) float32 of captions."""
        return self.vectors.rows(places)

    def search(self, queries: Tensor, count: int) -> Found:
        """The captions with the largest inner products with unit queries (B, D): `UnitRows.search`.

        Example:
            ```python
            from adaptkit.texts.cased import in_memory

            backbone = adaptkit.load_backbone("adaptkit-mini")
            index = in_memory(["a cat", "a violin"], backbone)
            found = index.search(backbone.encode_image(torch.rand(1, 3, 48, 48)), count=1)
            print(index.captions[found.places[0, 0]])
            ```
        """
        return self.vectors.search(queries, count)


def dtype_of(backbone: FrozenCLIP) -> str:
    """The backbone's precision by name."""
    return str(backbone.dtype).removeprefix("torch.")


def encoder_of(backbone: FrozenCLIP, template: str) -> Encoder:
    """What a backbone's text features with a template are made by.

    Raises:
        ValueError: if the template has not one {}, or the text tower learns.
    """
    if template.count("{}") != 1:
        raise ValueError(f"template={template!r}; expected a text with one {{}} for the caption")
    backbone.require_frozen_text("an index of captions", "is searched after training with features from before")
    pretrained = backbone.source.pretrained if backbone.source is not None else None
    return Encoder(backbone.name, pretrained, backbone.weights_hash, dtype_of(backbone), template)


def in_memory(
    captions: Iterable[str], backbone: FrozenCLIP, template: str = TEMPLATE, name: str = "captions"
) -> CaptionIndex:
    """An index of a list of captions, which are encoded now.

    Raises:
        ValueError: if there are none.
    """
    kept = [tidy for caption in captions if (tidy := tidied(caption))]
    if not kept:
        raise ValueError(f"the list {name!r} has no captions; give one at least")
    encoder = encoder_of(backbone, template)
    return CaptionIndex(name, kept, [half_rows(backbone, kept, template)], encoder, digest_of(kept))


def digest_of(captions: Sequence[str]) -> str:
    """SHA-256 of captions in memory."""
    return hashlib.sha256("\n".join(captions).encode()).hexdigest()


def tidied(caption: str) -> str:
    """A caption on one line, with single spaces."""
    return " ".join(caption.split())


@torch.no_grad()
def half_rows(backbone: FrozenCLIP, captions: Sequence[str], template: str) -> Half:
    """Unit text features (N, D) of captions in float16."""
    parts = [
        encode(backbone, [template.format(caption) for caption in captions[start : start + TEXTS_AT_ONCE]])
        for start in range(0, len(captions), TEXTS_AT_ONCE)
    ]
    return torch.cat(parts).cpu().numpy().astype(np.float16)


@torch.no_grad()
def encode(backbone: FrozenCLIP, texts: Sequence[str]) -> Tensor:
    """Unit text features (N, D) float32; a text longer than the context loses the words at its end."""
    return F.normalize(backbone.encode_text([fitting(backbone, text) for text in texts]).float(), dim=-1)


def fitting(backbone: FrozenCLIP, text: str) -> str:
    """A text without the words at its end that the context has no room for.

    Raises:
        ValueError: if its first word alone is too long.
    """
    tokenizer = backbone.tokenizer
    room = tokenizer.context_length - tokenizer.n_special
    if len(text.encode()) <= room:  # a token has one byte at least
        return text
    words = text.split(" ")
    while len(words) > 1 and len(tokenizer.words(" ".join(words))) > room:
        words.pop()
    return " ".join(words)
