"""Matryoshka exits: a method's classification from short vectors, and from less depth of the image tower.

After Kusupati et al., "Matryoshka Representation Learning", arXiv:2205.13147, with the map R and the exits of the head
`matryoshka`. For the wrapped method's image features f, class weights W, and labels y:
    zi = f R (or an exit's feature behind `depth` blocks),   zt = W R
    logits = s cos(zi[:dim], zt[:dim])
    loss   = CE(logits, y) + sum_m CE(s cos(zi[:m], zt[:m]), y) + lambda_o |R^T R - I|^2 + the method's regularizer
R starts at PCA's directions of the training images and the class weights.

Departure: the method's own loss gives way to the nested one, but for what it adds to its cross-entropy.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.contract.adapted_towers import AdaptedTowers
from adaptkit.contract.creation import create_head
from adaptkit.contract.method import Support
from adaptkit.contract.registry import register_wrapper
from adaptkit.contract.wrapper import SUPPORT_ROWS, MakeInner, MethodWrapper
from adaptkit.heads.matryoshka.head import Matryoshka
from adaptkit.heads.matryoshka.rotation import orthogonality
from adaptkit.options import option, options


@options
class MatryoshkaExitsConfig:
    dim: int = option(0, "Size of the vectors that are compared, or 0 for the full size.", least=0)
    depth: int = option(0, "Blocks of the image tower that run, or 0 for all.", least=0)
    sizes: tuple[int, ...] = option(
        (), "Sizes of prefixes that learn; empty for 8, 16, 32, ... and the full size.", least=1
    )
    orthogonality: float = option(1.0, "Weight of the distance of R from an orthogonal map.", least=0)


@register_wrapper("matryoshka_exits", MatryoshkaExitsConfig)
class MatryoshkaExits(MethodWrapper):
    """Features (B, D), or images (B, 3, H, W) where the method changes features or the tower is cut."""

    provides = frozenset({"prepare"})
    withholds = frozenset({"class_weights", "backward"})  # rotated images alone meet them; and the loss is another

    def __init__(self, backbone: FrozenCLIP, make_inner: MakeInner, config: MatryoshkaExitsConfig):
        super().__init__(backbone, make_inner(backbone))
        if "class_weights" not in self.inner.provides:
            raise ValueError(
                f"matryoshka_exits cuts class weights and image features alike, and {type(self.inner).__name__} has no "
                "class weights that hold for every image; wrap zero_shot, coop, clip_lora or another method that has"
            )
        if "backward" in self.inner.provides:
            raise ValueError(
                f"{type(self.inner).__name__} finds its gradients in its own way, which the nested loss would leave "
                "out; wrap coop or kgcoop instead"
            )
        if not self.inner.learns_from_labels:
            raise ValueError(
                f"{type(self.inner.innermost).__name__} learns without labels, which the nested loss compares with; "
                "wrap vpt or another method that learns from them"
            )
        if not len(self.classes):
            raise ValueError("matryoshka_exits compares images with classes, and there are none; give classnames")
        # Whether the features that meet the class weights are those of the tower as it is handed on.
        is_untouched = type(self.inner).encode_image is AdaptedTowers.encode_image
        self.is_plain = is_untouched and self.inner.consumes == "features"
        if config.depth and not self.is_plain:
            raise ValueError(
                f"{type(self.inner).__name__} changes the image tower or its features at full depth, which an exit at "
                f"depth={config.depth} would not read; set depth to 0, or wrap zero_shot, coop or taskres"
            )
        self.config = config
        depths = (config.depth,) if config.depth else ()
        head = create_head(
            "matryoshka",
            backbone,
            sizes=config.sizes,
            depths=depths,
            depth=config.depth,
            dim=config.dim,
            contrast="classes",
        )
        self.head = cast(Matryoshka, head)
        self.consumes = "images" if depths or not self.is_plain else "features"

    def image_vectors(self, x: Tensor) -> Tensor:
        """What this method consumes -> rotated image features zi (B, D)."""
        return self.head.image_vectors(self._features(x))

    def _features(self, x: Tensor) -> Tensor:
        if self.consumes == "features":
            return x
        return self.head.features_at(x, self.head.depth) if self.is_plain else self.inner.encode_image(x)

    def class_vectors(self) -> Tensor:
        """Rotated class weights zt (C, D)."""
        return self.head.text_vectors(self.inner.current_class_weights())

    def folds_classes(self) -> bool:
        return self.inner.folds_classes()

    def logits(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            zi, zt = self.image_vectors(x), self.class_vectors()
            return self.backbone.logits(zi[:, : self.head.dim], zt[:, : self.head.dim])

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(x), labels) + self.regularizer(x, labels)

    def regularizer(self, x: Tensor, labels: Tensor) -> Tensor:
        own = self.head.nested(self.image_vectors(x), self.class_vectors(), labels)
        own = own + self.config.orthogonality * orthogonality(self.head.image_map)
        added = super().regularizer(x, labels)
        return own if added is None else own + added

    def prepare(self, support: Support) -> None:
        """Prepare the method, and start R at PCA's directions of the support's images and the class weights."""
        super().prepare(support)
        images = support.x.flatten(0, 1) if support.x.ndim == 5 else support.x
        with torch.no_grad():
            features = torch.cat([self._features(part.to(self.device)) for part in images.split(SUPPORT_ROWS)])
            self.head.start(features, self.inner.class_weights())
