"""Both towers of a backbone or of an adapter, which put images and texts into one space."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit import FrozenCLIP
from adaptkit.contract.adapted_towers import AdaptedTowers
from adaptkit.contract.head import Head
from adaptkit.texts.cased.index import dtype_of, fitting


@dataclass(frozen=True)
class MadeBy:
    """What made features, as far as features of something else cannot be compared with them."""

    model: str
    pretrained: str | None
    weights_sha256: str  # of the whole backbone, `FrozenCLIP.weights_hash`
    dtype: str
    adapter: str  # its name; empty for the backbone alone
    adapter_sha256: str  # of its options and of what it has learnt

    def __str__(self) -> str:
        weights = f" ({self.pretrained})" if self.pretrained else ""
        backbone = f"{self.model}{weights} in {self.dtype}, weights {self.weights_sha256[:12]}"
        return f"the adapter {self.adapter!r} ({self.adapter_sha256[:12]}) on {backbone}" if self.adapter else backbone


class PairTowers:
    """The image tower and the text tower of a backbone, with what an adapter has learnt in them.

    An adapter that changes no feature of a text leaves the text tower as it is.

    Args:
        towers: in the mode (training, eval) that it is used in.
        name: of the adapter, for messages.

    Raises:
        ValueError: if it is a head, whose answers are no features of images and texts.
    """

    def __init__(self, towers: FrozenCLIP | AdaptedTowers, name: str = ""):
        if isinstance(towers, Head):
            raise ValueError(
                f"{name or type(towers).__name__} is a head, which gives no features of images and of texts; give an "
                "adapter such as clip_lora, or the backbone that it stands on"
            )
        self.towers = towers
        self.backbone = towers.backbone if isinstance(towers, AdaptedTowers) else towers
        self.name = "" if towers is self.backbone else name or type(towers).__name__

    @property
    def adapts_texts(self) -> bool:
        """Whether an adapter changes the features of texts."""
        return isinstance(self.towers, AdaptedTowers) and "encode_text" in self.towers.provides

    @property
    def width(self) -> int:
        """Width D of its features."""
        return self.backbone.embed_dim

    @property
    def said(self) -> str:
        """What its features are made by, in words."""
        return str(self.made_by())

    @torch.no_grad()
    def encode_images(self, images: Tensor) -> Tensor:
        """Preprocessed images (B, 3, H, W) -> unit features (B, D) float32."""
        return self._unit(self.towers.encode_image(images.to(self.backbone.device)), "an image")

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """N texts -> unit features (N, D) float32; one longer than the context loses the words at its end.

        Raises:
            ValueError: if a text leaves no room for the words that the adapter has learnt.
        """
        encode = self.towers.encode_text if self.adapts_texts else self.backbone.encode_text
        return self._unit(encode([fitting(self.backbone, text) for text in texts]), "a text")

    def _unit(self, features: Tensor, what: str) -> Tensor:
        features = F.normalize(features.float(), dim=-1)
        if not features.isfinite().all():
            raise ValueError(f"the feature of {what} holds numbers that are not finite; check the weights of the model")
        return features

    def made_by(self) -> MadeBy:
        """What its features are made by."""
        backbone = self.backbone
        pretrained = backbone.source.pretrained if backbone.source is not None else None
        digest = _hash_of(self.towers) if isinstance(self.towers, AdaptedTowers) else ""
        return MadeBy(backbone.name, pretrained, backbone.weights_hash, dtype_of(backbone), self.name, digest)


def name_of_adapter(place: str) -> str:
    """How an adapter is called in an index: the last part of its place, without folders of this machine."""
    return Path(place).name or place


def _hash_of(adapter: AdaptedTowers) -> str:
    """SHA-256 of an adapter's method, wrappers, options and learnt tensors."""
    digest = hashlib.sha256()
    if adapter.spec is not None:
        parts = ((adapter.spec.name, adapter.spec.config), *adapter.spec.wrappers)
        for name, config in parts:
            options = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}  # type: ignore[arg-type]
            digest.update(json.dumps([name, options], sort_keys=True, default=str).encode())
    for name, tensor in sorted(adapter.learnt_state().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
