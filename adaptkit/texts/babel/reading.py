"""Texts as a text tower reads them: token ids, cut to the context, and features of each distinct text.

A byte-pair vocabulary of English takes any text in UTF-8, but has several tokens for a letter of other scripts, so that
a short name may be longer than the context. It loses its end then, and names that differ there alone become one.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP

TEXTS_AT_ONCE = 256
Ids = tuple[int, ...]


class TextReader:
    """Reads texts of any length and language with a backbone, or with the view of one whose text tower has learnt.

    Example:
        ```python
        from adaptkit.texts.babel import TextReader

        reader = TextReader(adaptkit.load_backbone("adaptkit-mini"))
        assert reader.encode(["dog", "собака"]).shape[0] == 2
        print(reader.cut(["подъёмный кран на берегу"]))  # [True]
        ```
    """

    def __init__(self, backbone: FrozenCLIP):
        self.backbone = backbone

    def read(self, text: str) -> Ids:
        """The token ids that the tower sees of a text; texts with the same ids have the same features."""
        ids: list[int] = self.backbone.tokenizer.cut([text])[0][0].tolist()
        return tuple(ids)

    def cut(self, texts: Sequence[str]) -> list[bool]:
        """Which of the texts lose tokens at their end."""
        was_cut: list[bool] = self.backbone.tokenizer.cut(texts)[1].tolist()
        return was_cut

    def tokens(self, texts: Sequence[str]) -> Tensor:
        """Token ids (N, L) of N texts, cut to the context, where the backbone is."""
        return self.backbone.tokenizer.cut(texts)[0].to(self.backbone.device)

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """Features (N, D) of N texts, not normalised."""
        parts = [
            self.backbone.encode_text(self.tokens(texts[start : start + TEXTS_AT_ONCE]))
            for start in range(0, len(texts), TEXTS_AT_ONCE)
        ]
        return torch.cat(parts)
