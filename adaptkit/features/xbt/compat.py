"""Compat: a new model whose queries search the gallery of an old one, without encoding the gallery again.

Jang and Lim, "Towards Cross-modal Backward-compatible Representation Learning for Vision-Language Models",
arXiv:2405.14715. A query goes through the new model, with what stage 2 has tuned in it, and through phi; then it lies
in the old space. The new model without both is as it was, for an index of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.weights_source import WeightsSource
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.pair_objective import text_features
from adaptkit.features.xbt.alignment import unit
from adaptkit.features.xbt.projection import Projection


@dataclass(frozen=True)
class Space:
    """The space of a model's features: which model, with which weights."""

    source: WeightsSource
    dtype: str  # such as "float32"
    weights_sha256: str  # `FrozenCLIP.weights_hash`
    dim: int

    @classmethod
    def of(cls, backbone: FrozenCLIP) -> "Space":
        """The space of a backbone as it was loaded."""
        source = backbone.source or WeightsSource(backbone.name)
        return cls(source, str(backbone.dtype).removeprefix("torch."), backbone.weights_hash, backbone.embed_dim)

    def __str__(self) -> str:
        return f"{self.source}, width {self.dim}, weights {self.weights_sha256[:12]}"

    def check(self, backbone: FrozenCLIP, role: str) -> None:
        """Refuse a backbone with other weights.

        Args:
            role: what it is to be, "old" or "new".

        Raises:
            ValueError: names both.
        """
        given = Space.of(backbone)
        if given.weights_sha256 != self.weights_sha256 or given.dim != self.dim:
            raise ValueError(
                f"the upgrade was fitted with {self} as the {role} model, and was given {given}; name the {role} model "
                "that it was fitted with, or fit another upgrade with `adaptkit upgrade fit`"
            )


class Compat:
    """Queries of a new model in the space of an old one.

    Args:
        old: the old model, or its space alone; the model is needed no more once phi has learnt.
        new: the new model, as it was loaded.
        phi: from the new space to the old one.
        phi_image: a map of its own for images; None maps them by phi.
        lora: a method on the new model whose towers encode queries; None for the new model as it is.
        sigma_max: of the noise that phi learnt with.
        notes: on the training, in words.

    Raises:
        ValueError: if a map is not from the new width to the old one, or the method stands on another backbone.

    Example:
        ```python
        import torch
        from adaptkit.features.xbt import Compat, start_projection

        backbone = adaptkit.load_backbone("adaptkit-mini")
        texts = backbone.encode_text(["a cat", "a dog", "a red car"])
        compat = Compat(backbone, backbone, start_projection(texts, texts))
        assert compat.encode_query(["a cat"]).shape == (1, 128)
        ```
    """

    def __init__(
        self,
        old: FrozenCLIP | Space,
        new: FrozenCLIP,
        phi: Projection,
        phi_image: Projection | None = None,
        lora: AdaptedCLIP | None = None,
        *,
        sigma_max: float = 0.0,
        notes: Sequence[str] = (),
    ):
        self.old = old if isinstance(old, Space) else Space.of(old)
        self.new, self.backbone = Space.of(new), new
        self.phi, self.phi_image, self.lora = phi.eval(), phi_image, lora
        self.sigma_max, self.notes = sigma_max, tuple(notes)
        for name, head in (("phi", phi), ("phi_image", phi_image)):
            if head is not None and head.widths != (self.new.dim, self.old.dim):
                raise ValueError(
                    f"{name} maps width {head.widths[0]} to {head.widths[1]}; expected {self.new.dim} (of {self.new}) "
                    f"to {self.old.dim} (of {self.old})"
                )
        if lora is not None and lora.backbone.weights_hash != self.new.weights_sha256:
            raise ValueError(f"the tuned towers stand on {lora.backbone.name}; expected {self.new}, the new model")

    @torch.no_grad()
    def encode_query(self, query: Tensor | Sequence[str]) -> Tensor:
        """Preprocessed images (B, 3, H, W), or N texts -> unit rows (B, d_o) that search the old gallery.

        Raises:
            ValueError: if a text is longer than the context.
        """
        if isinstance(query, Tensor):
            tower = self.backbone if self.lora is None else self.lora
            return self.map_images(tower.encode_image(query.to(self.backbone.device)))
        texts = self.backbone.encode_text(query) if self.lora is None else text_features(self.lora, query)
        return self.map_texts(texts)

    @torch.no_grad()
    def encode_native(self, query: Tensor | Sequence[str]) -> Tensor:
        """The same query by the untouched new model, without phi: unit rows (B, d_n) for an index of its own."""
        if isinstance(query, Tensor):
            return unit(self.backbone.encode_image(query.to(self.backbone.device)))
        return unit(self.backbone.encode_text(query))

    @torch.no_grad()
    def map_images(self, features: Tensor) -> Tensor:
        """Image features (B, d_n) of the new model, tuned where it is -> unit rows (B, d_o)."""
        return (self.phi_image or self.phi).project(features.float())

    @torch.no_grad()
    def map_texts(self, features: Tensor) -> Tensor:
        """Text features (B, d_n) of the new model, tuned where it is -> unit rows (B, d_o)."""
        return self.phi.project(features.float())

    @property
    def stage2(self) -> str:
        """What stage 2 has tuned: "none", "phi_image" or "lora"."""
        return "lora" if self.lora is not None else "phi_image" if self.phi_image is not None else "none"
