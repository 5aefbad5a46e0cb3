"""The texts that an objective writes for each pair, such as sentences of a long caption or wrong captions."""

from collections import ChainMap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from adaptkit.contract.batches import PairText
from adaptkit.contract.pair_objective import PairObjective
from trainers.compute.seeds import derived_seed

MOST_KEPT = 200_000  # texts whose features are kept; those that come later are encoded whenever they are written


@dataclass(frozen=True)
class WrittenTexts:
    """Writes the texts of pairs, anew in every epoch.

    Args:
        captions: those of every image, as they are in the data.
        fit: cuts a text to what the text tower has room for.
        encode: texts (M) -> features (M, D) of a text side that does not learn, or behind which a method learns; None
            where texts are encoded with every batch.
    """

    objective: PairObjective
    captions: Sequence[Sequence[str]]
    fit: Callable[[str], str]
    seed: int
    encode: Callable[[Sequence[str]], Tensor] | None = None
    kept: dict[str, Tensor] = field(default_factory=dict)

    def of(self, images: Sequence[int], drawn: Sequence[int], epoch: int) -> Tensor | Sequence[PairText]:
        """The n texts of each of B images with the drawn ones of its captions; or their features (B, n, D)."""
        texts = [
            tuple(self.objective.texts_of(self.captions[image], place, self.fit, self._seed(image, epoch)))
            for image, place in zip(images, drawn, strict=True)
        ]
        return texts if self.encode is None else self._features(texts, self.encode)

    def _seed(self, image: int, epoch: int) -> int:
        return derived_seed("texts", self.seed, epoch, image)

    def _features(self, texts: Sequence[Sequence[str | None]], encode: Callable[[Sequence[str]], Tensor]) -> Tensor:
        known = self.kept
        new = list(dict.fromkeys(text for own in texts for text in own if text is not None and text not in known))
        rows = dict(zip(new, encode(new), strict=True)) if new else {}
        if len(known) + len(rows) <= MOST_KEPT:
            known.update(rows)
        found = ChainMap(rows, known)
        missing = torch.zeros_like(next(iter(found.values())))
        return torch.stack([torch.stack([missing if t is None else found[t] for t in own]) for own in texts])
