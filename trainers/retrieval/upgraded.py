"""The towers of a new model whose queries search the gallery of an old one, through a fitted upgrade (XBT)."""

from collections.abc import Sequence

from torch import Tensor

from adaptkit.features.xbt import Compat
from trainers.retrieval.towers import MadeBy, PairTowers


class UpgradedTowers(PairTowers):
    """The new model of an upgrade, with features in the old model's space.

    Args:
        name: of the upgrade, for messages.
    """

    def __init__(self, compat: Compat, name: str):
        super().__init__(compat.lora or compat.backbone, name)
        self.compat, self.upgrade = compat, name

    def encode_images(self, images: Tensor) -> Tensor:
        """Preprocessed images (B, 3, H, W) -> unit features (B, d_o) in the old space."""
        return self.compat.map_images(super().encode_images(images))

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """N texts -> unit features (N, d_o) in the old space; one that is too long loses the words at its end."""
        return self.compat.map_texts(super().encode_texts(texts))

    @property
    def width(self) -> int:
        return self.compat.old.dim

    @property
    def said(self) -> str:
        return f"the upgrade {self.upgrade!r} from {self.compat.new} into the space of {self.made_by()}"

    def made_by(self) -> MadeBy:
        """The old model, in whose space its features are."""
        old = self.compat.old
        return MadeBy(old.source.name, old.source.pretrained, old.weights_sha256, old.dtype, "", "")
